# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Hands a job to a consortium that runs, and prints the job's id; does not wait for it.

A job is a name, with the options of flare-mri train NAME, or a folder as --export writes it. Neither the folder nor
anything else here is written to. A hospital that the job names and that is not connected is told, and the job is not
submitted unless --absent_ok says so. A hospital without site.yaml is refused, never trained on the phantom.

examples:
  flare-mri submit fedmri --clients hospital-1,hospital-2 --no_code --startup_kit lead@coordination.example
  flare-mri submit site_statistics --clients hospital-1,hospital-2
  flare-mri submit iopfl --clients hospital-1,hospital-2,hospital-3 --num_rounds 50
  flare-mri submit iopfl_outside --clients hospital-5 --routing_space /data/routing_space.safetensors
  flare-mri submit /tmp/flare_mri_jobs/fedmri
  flare-mri submit fedmri --help

Exit codes are those of flare-mri.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_mri.config.cli import Parser
from flare_mri.config.where import (
    add_absent_ok,
    add_consortium_arguments,
    add_startup_kit,
    check_kit,
    same_kit,
    site_names,
)
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.program.main import Command
from flare_mri.program.train import COMMANDS

# FLARE and PyTorch take seconds to import: commands import them where they work, never for help or a wrong word.
if TYPE_CHECKING:
    from nvflare.fuel.flare_api.flare_api import Session

JOBS = {**COMMANDS, "site_statistics": Command("flare_mri.program.statistics", "what data the sites have")}


def build_parser() -> argparse.ArgumentParser:
    """The options where the job is a folder."""
    parser = Parser(prog="flare-mri submit", description=__doc__)
    parser.add_argument("job", help=f"{', '.join(JOBS)}, or the folder of a job")
    add_startup_kit(parser)
    add_absent_ok(parser)
    return parser


def submit_named(name: str, words: Sequence[str]) -> str:
    """Build the job that options describe and submit it; returns its id.

    Raises:
        InputError: a setting, the kit, or what the server refuses.
    """
    module = import_module(JOBS[name].module)
    args = module.build_parser(f"flare-mri submit {name}", add_consortium_arguments).parse_args(words)
    if getattr(args, "outside", ""):
        raise InputError("--outside is for the simulator; submit iopfl, and when it has ended iopfl_outside")
    if not args.clients and not getattr(args, "min_sites", None):
        raise InputError("which sites? name them with --clients, or take all that are connected and give --min_sites")
    args.n_clients = getattr(args, "min_sites", None)  # where no names are given
    sites = site_names(args) if args.clients else []
    check_kit(args.startup_kit)
    recipe = module.build_recipe(args)
    recipe.sites = sites
    from flare_mri.flare.session import open_session, submit_job

    with _flare_on_stderr(), tempfile.TemporaryDirectory() as folder, open_session(args.startup_kit) as session:
        check_present(session, sites, args.absent_ok)
        recipe.export(folder)
        return submit_job(session, Path(folder) / recipe.name)


def check_present(session: Session, sites: Sequence[str], absent_ok: bool) -> None:
    """See that the hospitals that a job names are connected.

    Args:
        session: of the person who submits.
        sites: names, which may be none.
        absent_ok: only say who is not.

    Raises:
        InputError: one is not, and that is not said to be right.
    """
    connected = sorted(client.name for client in session.get_connected_client_list())
    absent = [name for name in sites if name not in connected]
    if not absent:
        return
    missing, there = ", ".join(absent), ", ".join(connected) or "none"
    if not absent_ok:
        raise InputError(
            f"not connected to the server: {missing}; connected: {there}; correct a misspelt name, wait for the "
            "hospital, or give --absent_ok, with which the job waits until as many as --min_sites are there"
        )
    print(
        f"not connected to the server: {missing}; connected: {there}; the job waits until as many as --min_sites are "
        "there, or until nvflare job abort",
        file=sys.stderr,
    )


def sites_of(folder: Path) -> list[str]:
    """The hospitals that a job's folder names; none where it is for all that are connected.

    Raises:
        InputError: its meta.json is missing or no JSON.
    """
    meta = read_json(folder / "meta.json", 2**20, "give the folder of a job, as --export writes it")
    deployed = meta.get("deploy_map") if isinstance(meta, dict) else None
    names = [name for sites in deployed.values() for name in sites] if isinstance(deployed, dict) else []
    return sorted({name for name in names if isinstance(name, str)} - {"server", "@ALL"})


def submit_folder(words: Sequence[str]) -> str:
    """Submit a folder; returns the job's id.

    Raises:
        InputError: no such job, the kit, or what the server refuses.
    """
    args = build_parser().parse_args(words)
    folder = Path(args.job)
    if not folder.is_dir():
        raise InputError(f"{args.job}: expected {', '.join(JOBS)} or the folder of a job, got neither; correct it")
    check_kit(args.startup_kit)
    sites = sites_of(folder)
    from flare_mri.flare.session import open_session, submit_job

    with _flare_on_stderr(), open_session(args.startup_kit) as session:
        check_present(session, sites, args.absent_ok)
        return submit_job(session, folder)


def _flare_on_stderr() -> AbstractContextManager[Any]:
    """FLARE prints lines of its own; stdout is to hold the id alone."""
    return contextlib.redirect_stdout(sys.stderr)


def main(argv: Sequence[str]) -> int:
    """Submits a job; returns 0, or 2 after a line on stderr."""
    try:
        job = submit_named(argv[0], argv[1:]) if argv and argv[0] in JOBS else submit_folder(argv)
        parser = argparse.ArgumentParser(add_help=False)
        add_startup_kit(parser)
        kit = same_kit(parser.parse_known_args(argv)[0].startup_kit)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(job)
    print(f"submitted; flare-mri follow {job}{kit} shows how it goes", file=sys.stderr)
    return 0
