# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a job in FLARE's simulator costs before its first step and after its last: tiny phantoms, a round, four sites.

    python benchmarks/fixed_cost.py
    python benchmarks/fixed_cost.py --other ../before    another checkout of the repository, the two taking turns

Told are seconds of the clock until the server asks the sites, until it asks them to train and from its last word to the
end, and of the processor in all processes of the run, which a busy machine changes less. Medians over --turns; a ratio
is that of this checkout over the other.
"""

import argparse
import datetime
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).parents[1]
SITE = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: 2}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 1
"""
MARKS = {
    "until the sites are asked": "Sending task check",
    "until they train": "Sending task train",
    "results": "results of",
}
ROWS = ("until the sites are asked", "until they train", "after the last word", "whole run", "processor")
_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - \w+ - (.*)")


def write_sites(folder: Path, count: int) -> Path:
    """Descriptions of tiny phantom sites."""
    for number in range(1, count + 1):
        site = folder / "sites" / f"site-{number}"
        site.mkdir(parents=True)
        (site / "site.yaml").write_text(SITE.format(cache=folder / "cache"))
    return folder / "sites"


def measure(checkout: Path, folder: Path, sites: Path) -> dict[str, float]:
    """Seconds of one run of a checkout's ``jobs/fedmri/job.py``, by row."""
    command = [sys.executable, str(checkout / "jobs" / "fedmri" / "job.py"), "--method", "FedAvg", "--num_rounds", "1"]
    command += ["--network", "UNet", "--channels", "4", "--num_pools", "2", "--sites", str(sites)]
    command += ["--workspace", str(folder / "workspace")]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "custom"), "PYTHONUNBUFFERED": "1"}
    before, started = _processor(), time.time()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"{checkout}: status {done.returncode}\n{done.stdout[-2000:]}")
    times = read_marks(done.stdout)
    return {
        "until the sites are asked": times["until the sites are asked"] - started,
        "until they train": times["until they train"] - started,
        "after the last word": ended - times["results"],
        "whole run": ended - started,
        "processor": _processor() - before,
    }


def read_marks(log: str) -> dict[str, float]:
    """Seconds since the epoch at which each of :data:`MARKS` was first told in a log."""
    found: dict[str, float] = {}
    for line in log.splitlines():
        if matched := _LINE.match(line):
            for name, words in MARKS.items():
                if matched[2].startswith(words) and name not in found:
                    found[name] = datetime.datetime.strptime(matched[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    if missing := MARKS.keys() - found.keys():
        raise SystemExit(f"the log has no line {MARKS[min(missing)]!r}")
    return found


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(argv: Sequence[str] | None = None) -> None:
    """Run in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="another checkout")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args(argv)
    checkouts = {"here": REPO} | ({"other": args.other.absolute()} if args.other else {})
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory(prefix="flare_mri-fixed-") as root:
        sites = write_sites(Path(root), args.sites)
        for turn in range(args.turns):
            for name, checkout in checkouts.items():
                runs[name].append(measure(checkout, Path(root) / f"{name}-{turn}", sites))
                print(f"turn {turn + 1}, {name}: {runs[name][-1]}", flush=True)
    medians = {
        name: {row: statistics.median(run[row] for run in found) for row in ROWS} for name, found in runs.items()
    }
    print(f"\n{'seconds':28s}" + "".join(f"{name:>10s}" for name in medians) + ("     ratio" if args.other else ""))
    for row in ROWS:
        ratio = f"{medians['here'][row] / medians['other'][row]:10.2f}" if args.other else ""
        print(f"{row:28s}" + "".join(f"{values[row]:10.1f}" for values in medians.values()) + ratio)


if __name__ == "__main__":
    main()
