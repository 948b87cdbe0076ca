# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Slices per second of the training loaders of both tasks, of this checkout and of an older one, in one run.

    python benchmarks/loaders.py
    python benchmarks/loaders.py --old ../older --turns 9

Each checkout loads in a process of its own. They take turns, so that a busy machine slows all of them alike, and the
ratios are those of the medians. Volumes are phantoms, cached before the first turn; a turn is one epoch of batches
that nobody trains on. `--old` takes a checkout of this layout, or of the one before with `flare_mri.learners`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve()
CHECKOUT = HERE.parents[1]
TASKS = ("reconstruction", "segmentation")
PLAIN, AUGMENTED = "plain", "augmented"


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, help="another checkout to compare with (default: none)")
    parser.add_argument("--turns", type=int, default=7, help="epochs of each")
    parser.add_argument("--size", type=int, default=128, help="height and width of the slices")
    parser.add_argument("--subjects", type=int, default=6, help="phantoms of the site")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of each")
    parser.add_argument("--serve", nargs=2, metavar=("TASK", "KIND"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def site_settings(args: argparse.Namespace, checkout: Path, folder: Path) -> Path:
    """Writes the site.yaml of a checkout, whose words for the size of the slices differ."""
    size = "matrix" if _is_old(checkout) else "spatial_size"
    path = folder / f"{size}.yaml"
    path.write_text(
        f"data: {{format: phantom, subjects: {args.subjects}, {size}: [{args.size}, {args.size}]}}\n"
        f"split: {{train: 0.8, validation: 0, test: 0.2}}\nbatch_size: {args.batch_size}\nworkers: {args.workers}\n"
    )
    return path


def _is_old(checkout: Path) -> bool:
    return (checkout / "custom" / "flare_mri" / "learners").is_dir()


def serve(task_name: str, augmented: bool) -> None:
    """Runs an epoch for each line on stdin and answers with its slices per second; in the checkout's own process."""
    import torch

    checkout = Path(os.environ["LOADERS_CHECKOUT"])
    if _is_old(checkout):
        from flare_mri.data.site_config import load_site_config  # type: ignore[import-not-found]
        from flare_mri.learners.build import build_task  # type: ignore[import-not-found]
        from flare_mri.learners.task import training_loader  # type: ignore[import-not-found]
    else:
        from flare_mri.config.site import load_site_config
        from flare_mri.config.training import TrainingSettings
        from flare_mri.training.build import build_task
        from flare_mri.training.task import training_loader

    import flare_mri

    if not Path(flare_mri.__file__).is_relative_to(checkout):
        raise SystemExit(f"expected the package of {checkout}, got {flare_mri.__file__}; set no other PYTHONPATH")
    torch.set_num_threads(1)
    config = load_site_config(Path(os.environ["LOADERS_SITE"]), "site-1")
    options: dict[str, Any] = {"training": TrainingSettings(augmentation=augmented)} if augmented else {}
    task = build_task(task_name, config, seed=0, **options)

    def epoch(seed: int) -> float:
        slices, start = 0, time.perf_counter()
        for batch in training_loader(task, seed):
            slices += len(batch["slice" if "slice" in batch else "image"])
        return slices / (time.perf_counter() - start)

    epoch(0)  # fills the cache and imports what is imported late
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        print(epoch(number + 1), flush=True)


class Loader:
    """One checkout's loader of one task, in a process that waits for its turns."""

    def __init__(self, args: argparse.Namespace, checkout: Path, task: str, kind: str, folder: Path):
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout / "custom"),
            "XDG_CACHE_HOME": str(folder / f"cache-{checkout.name}"),
            "OMP_NUM_THREADS": "1",
            "LOADERS_CHECKOUT": str(checkout),
            "LOADERS_SITE": str(site_settings(args, checkout, folder)),
        }
        command = [sys.executable, str(HERE), "--serve", task, kind]
        self.rates: list[float] = []
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        self._answer("ready")

    def take_turn(self) -> None:
        """Loads one epoch."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.rates.append(float(self._answer()))

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self, expected: str | None = None) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line or (expected is not None and line != expected):
            raise SystemExit(f"{' '.join(self.process.args[1:])}: expected an answer, got {line!r}")  # type: ignore
        return line


def compare(args: argparse.Namespace, task: str, folder: Path) -> None:
    """Prints the medians of a task, and the ratios where there is an older checkout."""
    wanted = [("old", args.old.resolve(), PLAIN)] if args.old else []
    wanted += [("new", CHECKOUT, PLAIN), ("new, augmented", CHECKOUT, AUGMENTED)]
    loaders: dict[str, Loader] = {}
    try:
        for name, checkout, kind in wanted:
            loaders[name] = Loader(args, checkout, task, kind, folder)
        for _ in range(args.turns):
            for loader in loaders.values():
                loader.take_turn()
    finally:
        for loader in loaders.values():
            loader.close()
    base = median(next(iter(loaders.values())).rates)
    for name, loader in loaders.items():
        low, middle, high = min(loader.rates), median(loader.rates), max(loader.rates)
        print(f"{task}, {name}: {middle:.0f} slices/s ({low:.0f} to {high:.0f}), ratio {middle / base:.2f}", flush=True)


def main(argv: list[str] | None = None) -> None:
    args = _parse_args(argv)
    if args.serve:
        serve(args.serve[0], args.serve[1] == AUGMENTED)
        return
    print(
        f"{args.size}x{args.size}, batches of {args.batch_size}, {args.workers} workers, medians of {args.turns} turns"
    )
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            compare(args, task, Path(folder))


if __name__ == "__main__":
    main()
