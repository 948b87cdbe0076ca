# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of the weighted contrastive term: training steps with and without it, alternating in one run.

    python benchmarks/contrastive_cost.py --threads 1

Prints the median step times, the median of the term alone and its share of a plain step.
"""

import argparse
import time
from statistics import median

import torch
import torch.nn.functional as F

from flare_mri.methods.weighted_contrastive import WeightedContrastive
from flare_mri.networks import UNet


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12, help="steps of each kind")
    parser.add_argument("--negatives", type=int, default=4)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--spatial_size", type=int, default=128, help="height and width of the slices")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = _parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    network = UNet(channels=args.channels).to(device)
    optimizer = torch.optim.RMSprop(network.parameters(), lr=3e-4)
    encoder = list(network.encoder.parameters())
    negatives = [[p.detach() + 0.01 * torch.randn_like(p) for p in encoder] for _ in range(args.negatives)]
    term = WeightedContrastive([p.detach() for p in encoder], negatives)
    x, y = torch.randn(2, args.batch_size, 1, args.spatial_size, args.spatial_size, device=device)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def step(contrastive: bool) -> tuple[float, float]:
        """Seconds of one training step and of the term in it."""
        start = now()
        optimizer.zero_grad()
        F.mse_loss(network(x), y).backward()
        before = now()
        if contrastive:
            term.add_gradient_(encoder, weight=1.0)
        after = now()
        optimizer.step()
        return now() - start, after - before

    for contrastive in (False, True):
        step(contrastive)
    plain, whole, alone = [], [], []
    for _ in range(args.steps):
        plain.append(step(False)[0])
        seconds, share = step(True)
        whole.append(seconds)
        alone.append(share)
    print(
        f"{args.device}, {args.threads} threads, {sum(p.numel() for p in encoder) / 1e6:.1f} M encoder parameters, "
        f"{args.negatives} negatives: step {median(plain):.3f} s, with the term {median(whole):.3f} s "
        f"(ratio {median(whole) / median(plain):.3f}); the term alone {median(alone):.4f} s, "
        f"{100 * median(alone) / median(plain):.1f} % of a plain step"
    )


if __name__ == "__main__":
    main()
