# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Common parts of the demonstrations of a consortium: small jobs, run and followed as a lead does it."""

import argparse
import contextlib
import json
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from consortium import SERVER, Consortium
from flare_mri.flare.recipes.follow import show_progress
from flare_mri.flare.workflows.run_record import RESULTS_FILE
from flare_mri.report.html import write_report
from flare_mri.report.results import load_results, merge_results, save_results, summary_table
from flare_mri.report.volume_scores import find_volume_scores

JOBS = Path(__file__).parents[1] / "jobs"
COMPLETED = "FINISHED:COMPLETED"
SITE_YAML = """\
# One file a hospital, for reconstruction and segmentation alike; small images keep the demonstration short.
data: {format: phantom, subjects: 3, spatial_size: [48, 48], slices: {step: 2}}
split: {train: 0.34, validation: 0.33, test: 0.33, by: volume}
batch_size: 2
"""
SMALL = ["--num_rounds", "3", "--channels", "8", "--num_pools", "2"]
"""Enough to see that all works, not how well: `make demo` is for that."""


def export(name: str, folder: Path, *arguments: str) -> Path:
    """Write the job that ``jobs/<name>/job.py`` describes with these arguments; returns its folder."""
    job = runpy.run_path(str(JOBS / name / "job.py"))
    job["build_recipe"](job["parse_args"](list(arguments))).export(str(folder))
    return folder / name


def only_at(job: Path, sites: Sequence[str]) -> None:
    """Deploy a job at these hospitals and no other; as exported it goes to all that are connected."""
    path = job / "meta.json"
    meta = json.loads(path.read_text())
    meta["deploy_map"] = {app: [SERVER, *sites] for app in meta["deploy_map"]}
    path.write_text(json.dumps(meta, indent=2))


def run(consortium: Consortium, job: Path, output: Path, seconds: float = 300.0) -> Path:
    """Submit a job, print a line a round and download what it leaves.

    Returns:
        The server's run folder as downloaded; the server itself has cleared it away.

    Raises:
        RuntimeError: the job did not complete; the message says what the participants logged.
        TimeoutError: it did not end in time.
    """
    started = time.monotonic()
    number = consortium.submit(job)
    print(f"\n{job.name}: submitted as {number}", flush=True)
    shown = 0

    def look() -> str | None:
        nonlocal shown
        status = consortium.status(number)
        shown = show_progress(consortium.run_folder(SERVER, number) / RESULTS_FILE, job.name, shown)
        return status if status.startswith("FINISHED") else None

    status = consortium.wait_for(look, seconds, f"end of job {job.name}")
    if status != COMPLETED:
        raise RuntimeError(f"job {job.name} ended as {status}: {'; '.join(complaints(consortium, number))}")
    target = output / "jobs" / job.name
    shutil.rmtree(target, ignore_errors=True)
    downloaded = consortium.download(number, output / "jobs").rename(target) / "workspace"
    show_progress(downloaded / RESULTS_FILE, job.name, shown)
    print(f"  {job.name} {status} after {time.monotonic() - started:.0f} s", flush=True)
    return downloaded


def complaints(consortium: Consortium, job: str) -> list[str]:
    """Why a job could not be deployed, and the last error that each hospital logged for it."""
    meta = consortium.ask(lambda session: session.get_job_meta(job))
    said = [detail for detail in meta.get("job_deploy_detail", []) if not detail.endswith(": OK")]
    for name in consortium.sites:
        log = consortium.run_folder(name, job) / "error_log.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        errors = [line for line in lines if " - ERROR - " in line and not line.endswith("(most recent call last):")]
        said += [f"{name}: {line.split(' - ERROR - ')[1].rsplit('exception: ')[-1]}" for line in errors[-1:]]
    return said


def report(consortium: Consortium, run_folders: dict[str, Path], output: Path, *metrics: str) -> None:
    """Print a table and write ``<output>.json`` and ``<output>.html``.

    Args:
        consortium: whose hospitals' stores hold the pictures.
        run_folders: name of a job -> its run folder as downloaded.
        output: path without suffix.
        metrics: what the table shows.
    """
    parts: list[dict[str, Any]] = []
    stores: dict[str, dict[str, Path]] = {}
    for job, folder in run_folders.items():
        parts.append(load_results(folder / RESULTS_FILE))
        pictures = {
            name: consortium.kit(name) / "site_store" / job / name / "examples.npz" for name in consortium.sites
        }
        # An outside job scores several ways of mixing models; its pictures are of the last, routing.
        stores[list(parts[-1]["methods"])[-1]] = {name: path for name, path in pictures.items() if path.exists()}
    results = merge_results(parts)
    save_results(results, output.with_suffix(".json"))
    kept = [consortium.kit(name) / "site_store" for name in consortium.sites]
    volumes = find_volume_scores(results, [folder for folder in kept if folder.is_dir()])
    write_report(results, stores, output.with_suffix(".html"), volumes=volumes)
    print(f"\n{summary_table(results, *metrics)}\nreport: {output.with_suffix('.html')}", flush=True)


def main(description: str, demonstrate: Callable[[Path, Path], None], output: str, argv: list[str] | None) -> int:
    """Run a demonstration in a folder of its own, which is removed where all went well."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(output), help="reports and results (default %(default)s)")
    parser.add_argument("--workspace", type=Path, help="empty folder for kits, logs and stores, which then stay")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        with _folder(args.workspace) as folder:
            demonstrate(folder, args.output)
    except KeyboardInterrupt:
        print("stopped; every process was ended", file=sys.stderr)
        return 130
    except (RuntimeError, TimeoutError, FileExistsError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(f"\n{time.monotonic() - started:.0f} s")
    return 0


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder that was asked for or a new one, removed at the end unless something went wrong in it."""
    folder = given or Path(tempfile.mkdtemp(prefix="flare_mri-"))
    try:
        yield folder
    except BaseException:
        print(f"kits and logs: {folder}", file=sys.stderr)
        raise
    if given is None:
        shutil.rmtree(folder)
