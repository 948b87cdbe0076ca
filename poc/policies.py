# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a hospital's IT writes into its startup kit's `local/` before the first start.

python poc/policies.py <kit>                    jobs may use the installed flare_mri, and nobody may bring code
python poc/policies.py <kit> --jobs_in <folder>  a server's: and keeps its jobs there, apart from other servers'
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from flare_mri.recipes import ALLOW_LIST


def allow_package(kit: Path) -> None:
    """Add flare_mri's two entries to ``class_allow_list`` of ``local/resources.json``."""
    resources = _read(kit, "resources.json")
    allowed = resources.get("class_allow_list")
    if not isinstance(allowed, list):  # a list of our two entries alone would shut FLARE's own components out
        raise SystemExit(
            f"{kit}/local/resources.json: expected FLARE 2.9's class_allow_list, got none; take the list over from "
            "local/resources.json.default of a newly provisioned kit"
        )
    resources["class_allow_list"] = [*allowed, *(entry for entry in ALLOW_LIST if entry not in allowed)]
    _write(kit, "resources.json", resources)


def forbid_code(kit: Path) -> None:
    """Take the right to bring code (BYOC) from everyone, in ``local/authorization.json``."""
    policy = _read(kit, "authorization.json")
    # "any" grants a role every right, so the project admin's have to be spelt out to leave one out.
    rights = [right for role in policy["permissions"].values() if isinstance(role, dict) for right in role]
    for role, granted in policy["permissions"].items():
        spelt_out = dict.fromkeys(rights, granted) if isinstance(granted, str) else granted
        policy["permissions"][role] = {**spelt_out, "byoc": "none"}
    _write(kit, "authorization.json", policy)


def keep_jobs_in(kit: Path, folder: Path) -> None:
    """Give a server its own folder for jobs and snapshots; FLARE's default is one for all servers of a machine."""
    resources = _read(kit, "resources.json")
    if "snapshot_persistor" not in resources:
        raise SystemExit(f"{kit}: no snapshot_persistor in local/resources.json; --jobs_in is for a server's kit")
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(folder / "snapshot-storage")
    manager = next(c for c in resources["components"] if c["id"] == "job_manager")
    manager["args"]["uri_root"] = str(folder / "jobs-storage")
    _write(kit, "resources.json", resources)


def _read(kit: Path, name: str) -> dict[str, Any]:
    """A policy as it holds now: the hospital's own or, where there is none, FLARE's default."""
    own, default = kit / "local" / name, kit / "local" / f"{name}.default"
    if not own.exists() and not default.exists():
        raise SystemExit(f"{kit}: no local/{name}.default in it; give the folder of a site's startup kit")
    path = own if own.exists() else default
    try:
        policy = json.loads(path.read_text())
    except ValueError as e:
        raise SystemExit(f"{path}: expected JSON, got something else ({e}); mend it") from e
    if not isinstance(policy, dict):
        raise SystemExit(f"{path}: expected a mapping, got {type(policy).__name__}; mend it")
    return policy


def _write(kit: Path, name: str, policy: dict[str, Any]) -> None:
    (kit / "local" / name).write_text(json.dumps(policy, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Write both policies into the kits that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kits", nargs="+", type=Path, metavar="kit", help="a startup kit: it holds startup/ and local/")
    parser.add_argument("--jobs_in", type=Path, metavar="FOLDER", help="of a server: where it keeps jobs and snapshots")
    args = parser.parse_args(argv)
    if args.jobs_in and len(args.kits) > 1:
        parser.error(f"--jobs_in {args.jobs_in}: every server needs a folder of its own; give one kit at a time")
    for kit in args.kits:
        allow_package(kit)
        forbid_code(kit)
        if args.jobs_in:
            keep_jobs_in(kit, args.jobs_in.absolute())
        print(f"{kit}: wrote local/resources.json and local/authorization.json; restart the site if it runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
