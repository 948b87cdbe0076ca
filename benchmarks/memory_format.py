# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Time of training steps by memory format, and with torch.compile, against a plain step, all in one run.

    python benchmarks/memory_format.py --threads 1

The papers' U-Nets and the unrolled network take a step (forward, backward, optimizer) on random images of their task
in turns, so that a busy machine slows all sides alike. Printed are the median of each side, its ratio to the plain step
and the largest relative difference of the two losses. torch.compile needs a C++ compiler for a CPU; its first step,
which compiles, is told apart.
"""

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from flare_mri.networks import build_network
from flare_mri.networks.admitted import UNROLLED
from flare_mri.training.compilation import compile_network

UNET = "flare_mri.networks.unet.UNet"
NETWORKS = {
    "U-Net of FedMRI": {"path": UNET, "args": {}},
    "U-Net of IOP-FL": {"path": UNET, "args": {"in_channels": 3, "out_channels": 2, "norm": "batch"}},
    "unrolled network": {"path": UNROLLED, "args": {}},
}


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--spatial_size", type=int, default=128, help="height and width of the slices")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--compile", action="store_true", help="with `compile: true` too")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def inputs_of(name: str, args: argparse.Namespace) -> tuple[Tensor, ...]:
    """A batch of what the network is called with."""
    size = (args.batch_size, 3 if "IOP" in name else 1, args.spatial_size, args.spatial_size)
    if "unrolled" not in name:
        return (torch.randn(size, device=args.device),)
    mask = torch.rand(args.batch_size, 1, 1, args.spatial_size, device=args.device) < 0.4
    return torch.randn(size, dtype=torch.complex64, device=args.device) * mask, mask.expand(size)


def step_of(network: nn.Module, inputs: tuple[Tensor, ...], device: str) -> Callable[[], float]:
    """A training step; returns its loss."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = network(*inputs).square().mean()
        loss.backward()
        optimizer.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return float(loss.detach())

    return step


def compare(name: str, args: argparse.Namespace) -> None:
    """Print a network's rows."""
    torch.manual_seed(0)
    network = build_network(NETWORKS[name], seed=0).to(args.device).train()
    inputs = inputs_of(name, args)
    sides: dict[str, nn.Module] = {
        "contiguous": copy.deepcopy(network),
        "channels_last": copy.deepcopy(network).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    }
    if args.compile:
        sides["compile: true"] = copy.deepcopy(network)
        compile_network(sides["compile: true"])
    steps = {side: step_of(built, inputs, args.device) for side, built in sides.items()}
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(1 + args.turns):
        for side, step in steps.items():
            started = time.perf_counter()
            losses[side].append(step())
            spent = time.perf_counter() - started
            if turn:
                times[side].append(spent)
            else:
                first[side] = spent
    plain = median(times["contiguous"])
    for side in sides:
        apart = max(abs(a / b - 1) for a, b in zip(losses[side], losses["contiguous"], strict=True))
        found = median(times[side])
        print(
            f"{name:17} {side:14} {1000 * found:7.0f} ms  {plain / found:5.2f} times as fast"
            f"  first step {first[side]:5.1f} s  losses differ by {apart:.1e}",
            flush=True,
        )


def main(args: argparse.Namespace) -> None:
    """Compare all networks."""
    torch.set_num_threads(args.threads)
    for name in args.networks:
        compare(name, args)


if __name__ == "__main__":
    main(_parse_args())
