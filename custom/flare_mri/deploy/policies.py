# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Policies for the `local/` folder of a startup kit, which IT writes before the first start.

flare-mri-policies <kit>                     a hospital's: jobs of FedMRI, of which no whole network leaves
flare-mri-policies <kit> --methods FedMRI,IOP-FL   takes part in these; IOP-FL shares whole networks
flare-mri-policies <kit> --jobs_in <folder>  a server's: and keeps its jobs there, apart from other servers'

resources.json: class_allow_list holds flare-mri's component classes by their exact names and none of FLARE's own, and
no log is streamed to the server. authorization.json: nobody may bring code (BYOC) or, at a hospital, look at the kit's
files by FLARE's shell commands. At a hospital also flare_mri.yaml, the policy of what it takes part in,
and privacy.json, a filter that holds for every job. Entries that FLARE's default
does not have stay; a policy that is there stays unless --methods asks for another.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

from flare_mri.atomic_file import write_atomically
from flare_mri.config.cli import Parser
from flare_mri.deploy.policy import (
    NO_SHELL,
    PIN,
    POLICY_FILE,
    SAFE_METHODS,
    SERVER_CLASSES,
    SITE_CLASSES,
    Policy,
    read_policy,
)
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.methods import METHOD_NAMES, shared_layers_of

_MOST_BYTES = 2**20
_WITHDRAWN = "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor"
"""An entry of earlier versions of this package, through which a job without code could run any command."""


def allow_package(kit: Path) -> None:
    """List this package's classes in ``local/resources.json`` in place of FLARE's own, and stream no logs."""
    resources = _read(kit, "resources.json")
    allowed = resources.get("class_allow_list")
    if not isinstance(allowed, list):
        raise InputError(
            f"{kit}/local/resources.json: expected FLARE 2.9's class_allow_list, got none; take the list over from "
            "local/resources.json.default of a newly provisioned kit"
        )
    classes = SERVER_CLASSES if _is_server(kit) else SITE_CLASSES
    withdrawn = (*DEFAULT_CLASS_ALLOW_LIST, _WITHDRAWN)
    own = [entry for entry in allowed if entry not in withdrawn and not str(entry).startswith("flare_mri.")]
    resources["class_allow_list"] = [*classes, *own]
    resources["class_list_enforcement_mode"] = "enforce"
    if not _is_server(kit):
        resources["allow_log_streaming"] = False
        others = [c for c in resources.get("components", []) if c.get("id") != NO_SHELL["id"]]
        resources["components"] = [*others, NO_SHELL]
    _write(kit, "resources.json", resources)


def restrict_rights(kit: Path) -> None:
    """Take rights from everyone, in ``local/authorization.json``: to bring code (BYOC), at a hospital to read files.

    FLARE's admins can run ``cat``, ``grep`` and ``ls`` on a site's kit, in which the site's own log lies.
    """
    taken = {"byoc": "none"} if _is_server(kit) else {"byoc": "none", "shell_commands": "none"}
    policy = _read(kit, "authorization.json")
    # "any" grants a role every right, so the project admin's have to be spelt out to leave one out.
    rights = [right for role in policy["permissions"].values() if isinstance(role, dict) for right in role]
    for role, granted in policy["permissions"].items():
        spelt_out = dict.fromkeys(rights, granted) if isinstance(granted, str) else granted
        policy["permissions"][role] = {**spelt_out, **taken}
    _write(kit, "authorization.json", policy)


def take_part(kit: Path, methods: tuple[str, ...] | None = None) -> Policy:
    """Write a hospital's ``local/flare_mri.yaml``, and the filter of ``local/privacy.json`` that goes with it.

    Args:
        kit: the hospital's startup kit.
        methods: names of methods; None keeps a policy that is there, else writes the default.
    """
    path = kit / "local" / POLICY_FILE
    if methods is None and path.exists():
        policy = read_policy(path, kit.name)
    else:
        chosen = SAFE_METHODS if methods is None else methods
        policy = Policy(methods=chosen, shared_layers=shared_layers_of(chosen))
        write_atomically(path, policy.text(), mode=0o644)
    _pin(kit, policy.pinned_prefixes())
    return policy


def _pin(kit: Path, allowed: list[str]) -> None:
    """Put the filter into every scope of the hospital's privacy policy, first and with these prefixes."""
    path = kit / "local" / "privacy.json"
    empty = {"scopes": [{"name": "public"}], "default_scope": "public"}
    policy = _json(path) if path.exists() else empty
    scopes = policy.get("scopes")
    if not isinstance(scopes, list) or not all(isinstance(scope, dict) for scope in scopes):
        raise InputError(f"{path}: expected FLARE's list of scopes, got another value; correct it or move it away")
    for scope in scopes:
        before = scope.get("task_result_filters", [])  # with a pin under the class's earlier name, it may be
        filters = [f for f in before if not str(f.get("path")).endswith(".SharedPartOnly")]
        pin = {"name": "SharedPartOnly", "path": PIN, "args": {"allowed": allowed}}
        scope["task_result_filters"] = [*filters, pin]
    write_atomically(path, json.dumps(policy, indent=2) + "\n", mode=0o644)


def keep_jobs_in(kit: Path, folder: Path) -> None:
    """Give a server its own folder for jobs and snapshots; FLARE's default is one for all servers of a machine."""
    resources = _read(kit, "resources.json")
    if "snapshot_persistor" not in resources:
        raise InputError(f"{kit}: no snapshot_persistor in local/resources.json; --jobs_in is for a server's kit")
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(folder / "snapshot-storage")
    manager = next(c for c in resources["components"] if c["id"] == "job_manager")
    manager["args"]["uri_root"] = str(folder / "jobs-storage")
    _write(kit, "resources.json", resources)


def _is_server(kit: Path) -> bool:
    return (kit / "startup" / "fed_server.json").exists()


def _read(kit: Path, name: str) -> dict[str, Any]:
    """A policy as it holds now: the hospital's own or, where there is none, FLARE's default."""
    own, default = kit / "local" / name, kit / "local" / f"{name}.default"
    if not own.exists() and not default.exists():
        raise InputError(f"{kit}: no local/{name}.default in it; give the folder of a site's startup kit")
    return _json(own if own.exists() else default)


def _json(path: Path) -> dict[str, Any]:
    policy = read_json(path, _MOST_BYTES, "correct it or move it away")
    if not isinstance(policy, dict):
        raise InputError(f"{path}: expected a mapping, got {type(policy).__name__}; correct it or move it away")
    return policy


def _write(kit: Path, name: str, policy: dict[str, Any]) -> None:
    write_atomically(kit / "local" / name, json.dumps(policy, indent=2) + "\n", mode=0o644)


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in METHOD_NAMES:
            raise argparse.ArgumentTypeError(f"expected names out of {', '.join(METHOD_NAMES)}, got {name!r}")
    return names


def main(argv: list[str] | None = None) -> int:
    """Write the policies into the kits that are named."""
    parser = Parser(prog="flare-mri-policies", description=__doc__)
    parser.add_argument("kits", nargs="+", type=Path, metavar="kit", help="a startup kit: it holds startup/ and local/")
    methods = f"of a hospital: what it takes part in, of {', '.join(METHOD_NAMES)} (default: {','.join(SAFE_METHODS)})"
    parser.add_argument("--methods", type=_methods, metavar="NAMES", help=methods)
    parser.add_argument("--jobs_in", type=Path, metavar="FOLDER", help="of a server: where it keeps jobs and snapshots")
    args = parser.parse_args(argv)
    if args.jobs_in and len(args.kits) > 1:
        parser.error(f"--jobs_in {args.jobs_in}: every server needs a folder of its own; give one kit at a time")
    try:
        for kit in args.kits:
            _settle(kit, args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _settle(kit: Path, args: argparse.Namespace) -> None:
    allow_package(kit)
    restrict_rights(kit)
    written = ["resources.json", "authorization.json"]
    if args.jobs_in:
        keep_jobs_in(kit, args.jobs_in.absolute())
    if not _is_server(kit):
        policy = take_part(kit, args.methods)
        written += [POLICY_FILE, "privacy.json"]
        print(f"{kit}: takes part in {', '.join(policy.methods)}; may leave: {', '.join(policy.shared_layers)}")
        if policy.pinned_prefixes() == ["*"]:
            print(f"{kit}: whole networks may leave in jobs of these methods; the pinned filter lets every tensor pass")
    print(f"{kit}: wrote {', '.join(written)} in local/; restart it if it runs")


if __name__ == "__main__":
    sys.exit(main())
