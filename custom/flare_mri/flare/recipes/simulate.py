# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The environment a recipe runs in: the simulator with its checks, or a POC."""

import argparse
import datetime
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import yaml
from nvflare.recipe.poc_env import PocEnv
from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import ExecEnv

from flare_mri.config.where import site_names
from flare_mri.errors import InputError, fail
from flare_mri.flare.executors.site import CONFIG_VARIABLE, STORE_VARIABLE
from flare_mri.flare.executors.site_log import LOG_FILE, last_failure
from flare_mri.flare.recipes.console import configure_console
from flare_mri.flare.recipes.job import FlareMRIRecipe, results_path
from flare_mri.flare.recipes.staging import stage_code
from flare_mri.flare.workflows.tracking import tell_curves
from flare_mri.folders import check_own_folder, private_folder
from flare_mri.methods import centralised
from flare_mri.report.comparable import natural
from flare_mri.report.results import load_results, summary_table

CENTRALISED = centralised.METHOD.name
"""The method whose one site holds the data of all, and the name of that site."""
_STOP = (signal.SIGINT, signal.SIGTERM)


def own_workspace(workspace: Path, job: str) -> None:
    """Make the workspace, or make sure that no other user can have put files there, which FLARE would run.

    Raises:
        InputError: it, or the job's folder in it, belongs to another user or may be written to by others.
    """
    if not workspace.exists():
        private_folder(workspace, "workspace")
    for folder in (workspace, workspace / job):
        if folder.exists() or folder.is_symlink():
            check_own_folder(folder, "workspace")


def build_environment(args: argparse.Namespace) -> ExecEnv:
    """FLARE's environment for the recipe; for the simulator the site settings are put in place."""
    names = site_names(args)
    if args.env == "poc":
        return PocEnv(clients=names)
    own_workspace(args.workspace, args.name)
    if getattr(args, "method", None) == CENTRALISED:
        names = [write_pool(names, args)]
    elif args.sites:
        os.environ[CONFIG_VARIABLE] = str(args.sites.absolute() / "{SITE_NAME}" / "site.yaml")
    # the simulator empties its folders at every start; what is to be resumed must lie outside them
    os.environ[STORE_VARIABLE] = str(stores_path(args.workspace))
    threads = min(args.threads or len(names), len(names))
    # How a sum is divided among cores shows in its last bits, which must not depend on how many sites run at a time.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(names))))
    # Threads that spin while they wait take the cores from other sites: on a busy machine three times slower than this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log_config = configure_console(args.workspace / args.name)
    return SimEnv(clients=names, num_threads=threads, workspace_root=str(args.workspace), log_config=log_config)


def run_recipe(recipe: FlareMRIRecipe, args: argparse.Namespace) -> None:
    """Run a recipe in its environment.

    Raises:
        KeyboardInterrupt: it was stopped by Ctrl-C, or by SIGTERM, by which a batch system and `timeout` ask.
        RuntimeError: the simulation failed; FLARE says where its logs are.
    """
    environment = build_environment(args)
    if args.env != "sim":
        recipe.execute(environment)
        return
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        raise KeyboardInterrupt  # at which FLARE ends the simulator's processes

    heeded = [number for number in _STOP if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        recipe.execute(environment)
    except RuntimeError:
        if asked:  # FLARE takes the processes that it ended for ones that failed
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_pool(names: list[str], args: argparse.Namespace) -> str:
    """Describe the one site of a centralised run, which holds the data of all; returns its name."""
    members = [str((args.sites / name / "site.yaml").absolute()) if args.sites else name for name in names]
    path = args.workspace / args.name / "local" / CENTRALISED / "site.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"pooled_sites": members}))
    return CENTRALISED


def stores_path(workspace: Path) -> Path:
    """Folder in which simulated sites, and the server, keep what outlives a job: ``<job>/<site>`` in it.

    ``$FLARE_MRI_STORE``, which they obey, else a folder of the workspace.
    """
    return Path(os.environ.get(STORE_VARIABLE) or workspace.absolute() / "stores").expanduser()


def execute(
    build_recipe: Callable[[argparse.Namespace], FlareMRIRecipe],
    args: argparse.Namespace,
    folder: Path | None,
    *metrics: str,
) -> int:
    """Run, or with ``--export`` write, a job that trains, and show its table; returns the exit status.

    Args:
        build_recipe: from the arguments to the recipe.
        args: as parsed.
        folder: the job's own folder, whose copy of the code is brought up to date; None: there is none.
        metrics: what the table at the end shows.
    """
    status = start(build_recipe, args, folder)
    if status or args.env != "sim" or args.export:
        return status
    path = results_path(args.workspace, args.name)
    try:
        print(f"{summary_table(load_results(path), *metrics)}\nresults: {path}")
    except InputError as error:
        return fail(error)
    if curves := tell_curves(path.parent, getattr(args, "tracking", "")):
        print(curves)
    print(f"kept by the sites, their own models among it: {stores_path(args.workspace) / args.name}/<site>")
    return 0


def start(
    build_recipe: Callable[[argparse.Namespace], FlareMRIRecipe], args: argparse.Namespace, folder: Path | None
) -> int:
    """Run, or with ``--export`` write, the job that the arguments describe; returns the exit status."""
    started = datetime.datetime.now().astimezone()
    try:
        if folder is not None:
            stage_code(folder)
    except InputError as error:  # a checkout that may only be read serves all but the folder itself
        print(f"note: the job folder's copy of the code is not brought up to date: {error}", file=sys.stderr)
    try:
        recipe = build_recipe(args)
        if args.clients and getattr(args, "method", None) != CENTRALISED:
            recipe.sites = site_names(args)  # these and no others, also where more are connected
        if args.export:
            recipe.export(args.export_dir, env=build_environment(args))
            print(f"Job exported to: {args.export_dir}")
            return 0
        run_recipe(recipe, args)
    except (InputError, RuntimeError) as e:  # RuntimeError: the simulation failed, FLARE says where its logs are
        return fail(e)
    finally:
        if args.env == "sim":  # elsewhere a site's own log is the site's alone
            tell_failed_sites(args.workspace / args.name, started)
    return 0


def tell_failed_sites(folder: Path, since: datetime.datetime) -> None:
    """Print, for each simulated site at which a task failed, the one line of its own log that says why.

    Args:
        folder: of the job in FLARE's workspace.
        since: when the job began.
    """
    for log in sorted(folder.glob(f"*/{LOG_FILE}"), key=lambda path: natural(path.parent.name)):
        if told := last_failure(log.parent, since):
            print(f"{log.parent.name}: {told}", file=sys.stderr)
