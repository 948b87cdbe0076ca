# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a round costs by number of sites: seconds, bytes and the server's memory, and what a line through them predicts.

    python benchmarks/many_sites.py --parts server                 the server's own part, without FLARE's processes
    python benchmarks/many_sites.py --parts simulator --threads 4  whole jobs in FLARE's simulator, tiny networks

The server's part: updates of one network come as FLARE's bytes one after the other, are decoded, checked, put away and
averaged by the server's own aggregator, in a process of its own for each number of sites. Seconds are of the processor,
so that a busy machine does not count. In the simulator a round's seconds are of the clock, training of tiny phantoms
among them, and memory is the peak of the process that holds the server.

A line is fitted to the two smallest numbers of sites, compared with the largest, and drawn to --predict. What is
complete in the workspace is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import psutil
from runs import JOBS

from flare_mri.config.where import default_workspace
from flare_mri.flare.recipes.simulate import results_path
from flare_mri.report.results import load_results

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

QUANTITIES = {"seconds": "seconds a round", "megabytes": "MB a round", "memory": "peak memory of the server (MB)"}
SITE = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: 2}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 1
"""
Row = dict[str, Any]


def measure_server(sites: int, numbers: int, rounds: int, average: str) -> Row:
    """The server's part of a round, in this process.

    Args:
        sites: that answer.
        numbers: of the shared part, in float32.
        rounds: the last of which counts.
        average: of the aggregator.
    """
    import torch
    from nvflare.apis.utils.decomposers import flare_decomposers
    from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
    from nvflare.app_common.utils.fl_model_utils import FLModelUtils
    from nvflare.app_opt.pt.decomposers import TensorDecomposer
    from nvflare.fuel.utils import fobs

    from flare_mri.flare.aggregators import PartialAggregator

    flare_decomposers.register()
    fobs.register(TensorDecomposer)
    shared = {f"layer{place}.weight": torch.zeros(numbers // 8) for place in range(8)}
    aggregator = PartialAggregator(average=average)
    for number in range(rounds):
        aggregator.begin_round(shared, number)
        seconds, received = 0.0, 0
        for site in range(sites):
            generator = torch.Generator().manual_seed(site)
            params = {k: v + 0.01 * torch.randn(v.shape, generator=generator) for k, v in shared.items()}
            update = FLModel(params_type=ParamsType.FULL, params=params, metrics={"x": 1.0}, current_round=number)
            message = fobs.dumps(FLModelUtils.to_shareable(update))
            del params, update
            received += len(message)
            started = time.process_time()
            answer = FLModelUtils.from_shareable(fobs.loads(message))
            answer.meta["client_name"] = f"site-{site:04d}"
            if not aggregator.accept_model(answer):
                raise SystemExit(f"site-{site:04d}: {aggregator.rejected}")
            del answer
            seconds += time.process_time() - started
        started = time.process_time()
        aggregator.compare_norms()
        shared = aggregator.aggregate_model().params
        seconds += time.process_time() - started
    return {"seconds": seconds, "megabytes": received / 1e6, "memory": peak_mb(psutil.Process())}


def peak_mb(process: psutil.Process) -> float:
    """The largest resident memory that a process has had; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def run_server(args: argparse.Namespace, sites: int) -> Row:
    """The server's part in a process of its own, whose peak of memory is that of this number of sites alone."""
    numbers = [str(value) for value in (sites, args.parameters, args.num_rounds)]
    command = [sys.executable, __file__, "--measure", *numbers, "--average", args.average]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def run_simulator(args: argparse.Namespace, sites: int) -> Row:
    """A whole job in FLARE's simulator."""
    folder = args.workspace / f"many-sites-{sites}"
    for number in range(1, sites + 1):
        site = folder / "sites" / f"site-{number}"
        site.mkdir(parents=True, exist_ok=True)
        (site / "site.yaml").write_text(SITE.format(cache=args.workspace / "cache"))
    name = f"many-{sites}"
    command = [sys.executable, str(JOBS / "fedmri" / "job.py"), "--name", name, "--method", "FedAvg"]
    command += ["--sites", str(folder / "sites"), "--workspace", str(folder), "--num_rounds", str(args.num_rounds)]
    command += ["--network", "UNet", "--channels", "4", "--num_pools", "2", "--lr", "1e-3"]
    command += ["--threads", str(args.threads or sites)]
    peak = 0.0
    with (folder / "log.txt").open("w") as log:
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while job.poll() is None:
                peak = max([peak, *map(peak_mb, _servers(job.pid))])
                time.sleep(0.5)
        finally:
            if job.poll() is None:
                job.terminate()
    if job.returncode:
        raise SystemExit(f"{sites} sites: status {job.returncode}, see {folder / 'log.txt'}")
    (run,) = load_results(results_path(folder, name))["methods"].values()
    last = run["rounds"][-1]
    if len(last["sites"]) != sites:
        raise SystemExit(f"{sites} sites: {len(last['sites'])} answered in the last round, see {folder / 'log.txt'}")
    moved = sum(site[key] for site in last["sites"].values() for key in ("bytes_received", "bytes_sent"))
    return {"seconds": last["seconds"], "megabytes": moved / 1e6, "memory": peak}


def _servers(pid: int) -> list[psutil.Process]:
    """Descendants of job.py that are not a site's: the simulator and the server in it."""
    try:
        found = psutil.Process(pid).children(recursive=True)
        return [process for process in found if "simulator_worker" not in " ".join(process.cmdline())]
    except psutil.Error:
        return []


def fit(rows: dict[int, Row], quantity: str, sites: Sequence[int]) -> tuple[float, float]:
    """a and b of a + b · sites, through the two smallest numbers of sites."""
    two = sorted(sites)[:2]
    b, a = np.polyfit(two, [rows[n][quantity] for n in two], 1)
    return float(a), float(b)


def show(part: str, rows: dict[int, Row], predict: int) -> None:
    """Print the table and the prediction."""
    sites = sorted(rows)
    print(f"\n{part}\n{'sites':>8s}" + "".join(f"{words:>34s}" for words in QUANTITIES.values()))
    for n in sites:
        print(f"{n:8d}" + "".join(f"{rows[n][quantity]:34.2f}" for quantity in QUANTITIES))
    if len(sites) < 2:
        return
    lines = {quantity: fit(rows, quantity, sites) for quantity in QUANTITIES}
    print(f"{'a + b n':>8s}" + "".join(f"{f'{a:.3g} + {b:.3g} n':>34s}" for a, b in lines.values()))
    for n in (sites[-1], predict):
        print(f"{f'-> {n}':>8s}" + "".join(f"{a + b * n:34.2f}" for a, b in lines.values()))


def draw(parts: dict[str, dict[int, Row]], path: Path) -> None:
    """A panel a quantity: what was measured, and the line through the first two."""
    figure, panels = plt.subplots(1, len(QUANTITIES), figsize=(12, 3.6), layout="constrained")
    for (quantity, words), panel in zip(QUANTITIES.items(), panels, strict=True):
        for colour, (part, rows) in zip(("#1b6ca8", "#c8553d"), parts.items(), strict=False):
            sites = sorted(rows)
            panel.plot(sites, [rows[n][quantity] for n in sites], "o", color=colour, label=part)
            if len(sites) > 1:
                a, b = fit(rows, quantity, sites)
                panel.plot(sites, [a + b * n for n in sites], "-", color=colour, linewidth=1)
        panel.set_xlabel("sites")
        panel.set_title(words, fontsize=10)
        panel.set_ylim(0, 1.2 * max(row[quantity] for rows in parts.values() for row in rows.values()))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not there yet, print the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--parts", nargs="+", choices=["server", "simulator"], default=["server"])
    parser.add_argument("--num_rounds", type=int, default=2)
    parser.add_argument("--parameters", type=int, default=3_500_000, help="numbers in an update, of the server's part")
    parser.add_argument("--average", default="mean", help="of the server's part")
    parser.add_argument("--threads", type=int, help="sites that compute at a time in the simulator; default: all")
    parser.add_argument("--predict", type=int, default=1000)
    parser.add_argument("--workspace", type=Path, default=default_workspace() / "many_sites")
    parser.add_argument("--measure", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure_server(*args.measure, args.average)))
        return
    args.workspace.mkdir(parents=True, exist_ok=True)
    file = args.workspace / "many_sites.json"
    done: dict[str, Row] = json.loads(file.read_text()) if file.is_file() else {}
    parts: dict[str, dict[int, Row]] = {}
    measure: dict[str, Callable[[argparse.Namespace, int], Row]] = {"server": run_server, "simulator": run_simulator}
    for part in args.parts:
        of_server = f", {args.parameters} numbers, {args.average}" if part == "server" else ""
        setting = f"{part}{of_server}, {args.num_rounds} rounds"
        parts[setting] = {}
        for sites in sorted(args.sites):
            key = f"{setting}, {sites} sites"
            if key not in done:
                done[key] = measure[part](args, sites)
                file.write_text(json.dumps(done, indent=1))
                print(f"{key}: {done[key]}", flush=True)
            parts[setting][sites] = done[key]
    for part, rows in parts.items():
        show(part, rows, args.predict)
    plot = args.workspace / "many_sites.png"
    draw(parts, plot)
    print(f"\nplot: {plot}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
