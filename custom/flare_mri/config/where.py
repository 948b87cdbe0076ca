# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Options that say where a job runs, the same of every command that runs one; nothing here imports FLARE."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

import platformdirs

from flare_mri.config.names import check_name
from flare_mri.errors import InputError

Where = Callable[..., None]
"""Adds the options that say where a job runs: :func:`add_environment_arguments`, :func:`add_consortium_arguments`."""


def default_workspace() -> Path:
    """Folder of simulated jobs and their personal models: under the user's own data, not in a temp folder."""
    return platformdirs.user_data_path("flare-mri") / "workspace"


def add_environment_arguments(parser: argparse.ArgumentParser, clients: str | None = None) -> None:
    """Arguments that say where the job runs, not what it learns; ``clients`` is the default of ``--clients``."""
    group = parser.add_argument_group("where to run")
    group.add_argument(
        "--env",
        type=_environment,
        choices=["sim", "poc"],
        default="sim",
        help="simulator; a new POC, replacing one that runs; default %(default)s",
    )
    number = argparse.SUPPRESS if clients else "sites named site-1, site-2, ...; default %(default)s"
    group.add_argument("--n_clients", type=int, default=4, help=number)
    default = "; default %(default)s" if clients else ""
    names = f"names of the sites, comma separated: these and no others{default}"
    group.add_argument("--clients", default=clients, help=names)
    group.add_argument("--sites", type=Path, help="folder with <site>/site.yaml; its subfolders are the sites")
    group.add_argument("--threads", type=int, help="sites that compute at the same time, same numbers (default: all)")
    group.add_argument("--workspace", type=Path, default=default_workspace(), help="default %(default)s")
    group.add_argument("--no_code", action="store_true", help="leave the package's code out of the job")
    # FLARE takes these two out of sys.argv as it is imported, which is after the words are read.
    group.add_argument("--export", action="store_true", help="write the job's folder instead of running the job")
    group.add_argument("--export-dir", default="./fl_job", metavar="DIR", help="of --export; default %(default)s")


def _environment(name: str) -> str:
    if name == "prod":
        raise argparse.ArgumentTypeError("a consortium that runs is given a job by flare-mri submit")
    return name


def add_consortium_arguments(parser: argparse.ArgumentParser, clients: str | None = None) -> None:
    """Arguments that say which consortium runs the job; ``clients``, a default for simulated sites, counts for none."""
    group = parser.add_argument_group("where to run")
    add_startup_kit(group)
    add_absent_ok(group)
    group.add_argument("--clients", help="names of the sites, comma separated: these and no others")
    group.add_argument("--no_code", action="store_true", help="leave the package's code out of the job")
    parser.set_defaults(env="prod", sites=None, require_site_config=True)


def add_startup_kit(parser: argparse._ActionsContainer) -> None:
    """The option that says who asks which consortium."""
    told = "your startup kit (default: FLARE's active one, of nvflare config use or $NVFLARE_STARTUP_KIT_DIR)"
    parser.add_argument("--startup_kit", type=Path, metavar="KIT", help=told)


def add_absent_ok(parser: argparse._ActionsContainer) -> None:
    """The option that lets a job wait for hospitals."""
    told = "submit although a hospital that the job names is not connected: the job waits"
    parser.add_argument("--absent_ok", action="store_true", help=told)


def check_kit(startup_kit: Path | None) -> None:
    """See that the folder that is named is there, before FLARE is asked what it is.

    Raises:
        InputError: no such folder.
    """
    if startup_kit is not None and not startup_kit.is_dir():
        raise InputError(
            f"--startup_kit {startup_kit}: expected a person's startup kit, got no such folder; give yours"
        )


def same_kit(startup_kit: Path | None) -> str:
    """The words that give another command the same startup kit, to be put behind it."""
    return f" --startup_kit {shlex.quote(str(startup_kit))}" if startup_kit else ""


def check_workspace(workspace: Path) -> None:
    """See that FLARE's simulator can work in a folder, before it is started.

    Raises:
        InputError: the path holds white space, which the simulator splits into two arguments.
    """
    if any(c.isspace() for c in str(workspace.absolute())):
        raise InputError(
            f"workspace {str(workspace)!r}: FLARE's simulator takes no path with white space; choose another"
        )


def site_names(args: argparse.Namespace) -> list[str]:
    """Names of the sites.

    Raises:
        InputError: no site, a name that comes twice, a ``--sites`` folder without any ``site.yaml``, or a workspace in
            which FLARE's simulator cannot work.
    """
    if args.env == "sim" and not args.export:
        check_workspace(args.workspace)
    if args.clients:
        names = [name.strip() for name in args.clients.split(",")]
    elif args.sites:
        folders = sorted(path for path in args.sites.glob("*") if path.is_dir())
        names = [path.name for path in folders if (path / "site.yaml").is_file()]
        left_out = [path.name for path in folders if path.name not in names]
        if names and left_out:
            raise InputError(f"--sites {args.sites}: no site.yaml in {', '.join(left_out)}; write it or name --clients")
        if not names:
            raise InputError(f"--sites {args.sites}: no <site>/site.yaml in it; give the folder that holds the sites")
    else:
        names = [f"site-{i + 1}" for i in range(args.n_clients)]
    for name in names:
        check_name("site", name)
    unknown = [name for name in names if args.sites and not (args.sites / name / "site.yaml").is_file()]
    if unknown:
        raise InputError(
            f"--sites {args.sites}: no {unknown[0]}/site.yaml in it; correct --clients, or write the file; "
            "data: {format: phantom} in it makes a phantom"
        )
    if getattr(args, "min_sites", None) and args.min_sites > len(names):
        raise InputError(f"--min_sites {args.min_sites}: there are {len(names)} sites; lower it or add sites")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"site name {twice[0]!r} comes twice; every site needs a name of its own")
    if not names:
        raise InputError(f"no usable site names in {args.clients or args.n_clients!r}; give at least one")
    return names
