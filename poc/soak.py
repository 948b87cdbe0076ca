# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A long run of many sites in FLARE's POC: is memory flat, does every message arrive?

    python poc/soak.py --output soak

Eight sites, 50 rounds, small networks. Writes soak.json and soak.png: resident memory of the server's and every site's
job process over the rounds. Prints its growth between the middle and the end, and how many of the answers arrived.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

import processes
from consortium import SERVER, Consortium
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: 2}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 2
"""


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--num_rounds", type=int, default=50)
    parser.add_argument("--channels", type=int, default=8, help="channels of the U-Net's first level")
    parser.add_argument("--clock", type=float, default=1800, help="seconds after which it has failed")
    parser.add_argument("--output", type=Path, default=Path("soak"))
    return parser.parse_args(argv)


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB; NaN once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), np.nan)


def rounds_done(consortium: Consortium, name: str) -> int:
    """Finished rounds of the job."""
    path = consortium.kit(SERVER) / "run_store" / name / "server" / "checkpoint.pt"
    return int(torch.load(path, weights_only=True)["finished"]) + 1 if path.exists() else 0


def watch(consortium: Consortium, job: str, name: str, clock: float) -> dict[str, list[tuple[int, float]]]:
    """Memory of every job process, as (finished rounds, MB), until the job ends."""
    found: dict[str, list[tuple[int, float]]] = {}
    deadline, shown = time.monotonic() + clock, 0
    while not consortium.status(job).startswith("FINISHED"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the job did not end in {clock:.0f} s; logs: {consortium.kits}/*/log.txt")
        done = rounds_done(consortium, name)
        for process in processes.find(consortium.kits):
            if process.runs_job(job):
                found.setdefault(process.kit.name, []).append((done, resident_mb(process.pid)))
        if done > shown:
            print(f"round {done}", flush=True)
            shown = done
        time.sleep(1.0)
    return found


def growth(samples: list[tuple[int, float]], num_rounds: int) -> float:
    """MB that a process has grown from the second quarter of the rounds to the last."""
    quarter = num_rounds / 4
    early = [mb for done, mb in samples if quarter <= done < 2 * quarter]
    late = [mb for done, mb in samples if 3 * quarter <= done < num_rounds]
    return float(np.nanmedian(late) - np.nanmedian(early)) if early and late else float("nan")


def plot(memory: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """One line a process."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, samples in sorted(memory.items(), key=lambda item: item[0] != SERVER):
        axes.plot(*zip(*samples, strict=True), label=name, linewidth=2.5 if name == SERVER else 1)
    axes.set(xlabel="finished rounds", ylabel="resident memory of the job's process (MB)", ylim=(0, None))
    axes.legend(ncols=3, fontsize="small")
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Run, watch, report; 1 where a message was lost."""
    args = _parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    names = [f"hospital-{i + 1}" for i in range(args.sites)]
    network = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": args.channels, "num_pools": 2}}
    with tempfile.TemporaryDirectory(prefix="flare_mri-soak-") as folder:
        root = Path(folder)
        text = SITE_YAML.format(cache=root / "cache")
        with Consortium(root / "poc", names, site_yaml=text, environment={"OMP_NUM_THREADS": "1"}) as consortium:
            recipe = FedMRIRecipe(
                name="soak",
                num_rounds=args.num_rounds,
                network=network,
                training=TrainingSettings(lr=1e-3),
                min_clients=args.sites,
            )
            recipe.export(str(root / "job"))
            job = consortium.submit(root / "job" / "soak")
            memory = watch(consortium, job, "soak", args.clock)
            status = consortium.status(job)
            workspace = consortium.download(job, root / "result") / "workspace"
            run: dict[str, Any] = json.loads((workspace / "results.json").read_text())["methods"]["FedMRI"]
    answers = sum(len(row["sites"]) for row in run["rounds"])
    grown = {name: growth(samples, args.num_rounds) for name, samples in memory.items()}
    peaks = {name: max(mb for _, mb in samples if mb == mb) for name, samples in memory.items()}
    seconds = [row["seconds"] for row in run["rounds"]]
    plot(memory, args.output / "soak.png")
    summary = {"status": status, "answers": answers, "grown_mb": grown, "peak_mb": peaks, "round_seconds": seconds}
    (args.output / "soak.json").write_text(json.dumps({**summary, "memory": memory}))
    asked = args.sites * args.num_rounds
    print(f"{status}; {answers} of {asked} answers arrived; median round {np.median(seconds):.1f} s")
    for name, mb in sorted(grown.items()):
        print(f"{name:12s} peak {peaks[name]:6.0f} MB, grown {mb:+6.1f} MB from the second to the last quarter")
    return int(status != "FINISHED:COMPLETED" or answers != asked)


if __name__ == "__main__":
    sys.exit(main())
