# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of routing: the plain network, our routed network and the per-sample loop of the published code, in one run.

    python benchmarks/routed_forward.py                     # forward pass, batch 8 at 64x64
    python benchmarks/routed_forward.py --size 384 --repeats 3
    python benchmarks/routed_forward.py --spatial_dims 3 --size 64 --batch 2 --repeats 3    # volumes
    python benchmarks/routed_forward.py --adaptation --repeats 2    # adaptation to a site of 8 slices, 10 epochs

The three take turns, so that a busy machine slows all of them alike; the ratios are those of the medians. "plain" uses
BatchNorm's running statistics as in deployment, "plain, batch statistics" computes them as the routed network must.
The network is the published one; --pool avg --upsampling normalised makes it that of ``jobs/iopfl``. For volumes it has
16 features and 3 poolings.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flare_mri.networks.unet import UNet
from flare_mri.routing import TestTimeLoss, adapt, build_routed_network, find_routed_layers
from flare_mri.routing.layers import RoutedConv, RoutedConvTranspose, RoutedLayer
from flare_mri.routing.losses import Turns, consistency, entropy
from flare_mri.routing.norm import use_batch_statistics

NUM_EXPERTS = 6  # five personal models and the global one


class PublishedLoop(nn.Module):
    """A routed convolution as the published code computes it: router, kernels and convolution sample by sample."""

    def __init__(self, layer: RoutedLayer):
        super().__init__()
        self.layer = layer
        self.weights = layer.weights.contiguous()  # as the published code holds them, whatever order ours are in

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._sample(sample[None]) for sample in x])

    def _sample(self, x: Tensor) -> Tensor:
        layer = self.layer
        routing = layer.router(x.flatten(2).mean(2))[0]
        kernel = (routing.view(-1, *[1] * (self.weights.dim() - 1)) * self.weights).sum(0)
        bias = None if layer.biases is None else (routing[:, None] * layer.biases).sum(0)
        if isinstance(layer, RoutedConv):
            convolve = F.conv2d if x.dim() == 4 else F.conv3d
            return convolve(x, kernel, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        assert isinstance(layer, RoutedConvTranspose)
        transposed = F.conv_transpose2d if x.dim() == 4 else F.conv_transpose3d
        return transposed(x, kernel, bias, layer.stride, layer.padding)


class PublishedLoss(TestTimeLoss):
    """The same loss as the published step computes it: it predicts the unchanged images twice, and pools squares."""

    def __call__(self, network: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        logits, turns = network(images), Turns.draw(images)
        second = turns.undo(network(turns.apply(images + self.noise * torch.randn_like(images))))
        first = network(images)
        h, c = entropy(logits), consistency(first.softmax(1), second.softmax(1))
        foreground, window = logits.softmax(1)[:, 1:].flatten(1, -3), 2 * self.reach + 1
        spread = F.max_pool2d(foreground, window, 1, self.reach) + F.max_pool2d(-foreground, window, 1, self.reach)
        s = torch.linalg.vector_norm(1e-6 * spread)
        return self.entropy_weight * h + self.consistency_weight * c + self.shape_weight * s, {}


def iopfl_network(pool: str = "max", upsampling: str = "linear", spatial_dims: int = 2) -> UNet:
    """The U-Net of IOP-FL: 32 features, 4 poolings, BatchNorm, 3 input channels, 2 classes; for volumes smaller."""
    width, depth = (32, 4) if spatial_dims == 2 else (16, 3)
    args: dict[str, Any] = {"norm": "batch", "negative_slope": 0.0, "pool": pool, "upsampling": upsampling}
    return UNet(3, 2, width, depth, spatial_dims=spatial_dims, **args)


def build_loop(routed: nn.Module) -> nn.Module:
    """A copy of ``routed`` with the published per-sample loop in every layer."""
    network = copy.deepcopy(routed)
    for name, layer in find_routed_layers(network).items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, PublishedLoop(layer))
    return network


def medians(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, run in turns after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def forward_passes(routed: nn.Module, plain: nn.Module, images: Tensor) -> dict[str, Callable[[], Any]]:
    plain = plain.eval()
    networks = {
        "plain": plain,
        "plain, batch statistics": use_batch_statistics(copy.deepcopy(plain)),
        "routed": routed.eval(),
        "published loop": build_loop(routed).eval(),
    }
    difference = (networks["routed"](images) - networks["published loop"](images)).abs().max().item()
    print(f"largest difference between routed and published loop: {difference:.1e}")
    return {name: lambda network=network: network(images) for name, network in networks.items()}  # type: ignore[misc]


def adaptations(
    routed: nn.Module, plain: nn.Module, slices: Tensor, batch: int, epochs: int
) -> dict[str, Callable[[], Any]]:
    """The adaptation to a whole site: ours looks at it with three networks before and after its epochs, the published
    loop predicts every batch once more after its step. "plain" is what the same steps cost without routing."""

    def steps(network: nn.Module, loss: TestTimeLoss, predicts_after: bool) -> Callable[[], None]:
        optimizer = torch.optim.Adam(network.train().parameters(), lr=1e-3)  # experts are buffers: routers and norm

        def run() -> None:
            for _ in range(epochs):
                for images in slices.split(batch):
                    optimizer.zero_grad()
                    loss(network, images)[0].backward()
                    optimizer.step()
                    if predicts_after:
                        network(images)

        return run

    return {
        "plain": steps(use_batch_statistics(copy.deepcopy(plain)), TestTimeLoss(), False),
        "routed": lambda: adapt(routed, plain, slices, epochs, batch_size=batch),
        "published loop": steps(build_loop(routed), PublishedLoss(), True),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="height and width, and depth of volumes")
    parser.add_argument("--spatial_dims", type=int, choices=[2, 3], default=2, help="2 for images, 3 for volumes")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--adaptation", action="store_true", help="time a whole adaptation, not a forward pass")
    parser.add_argument("--slices", type=int, default=8, help="of the site to adapt to")
    parser.add_argument("--epochs", type=int, default=10, help="of the adaptation")
    parser.add_argument("--pool", choices=["max", "avg"], default="max", help="of the U-Net")
    parser.add_argument("--upsampling", choices=["linear", "normalised"], default="linear", help="of the U-Net")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    *experts, plain = (iopfl_network(args.pool, args.upsampling, args.spatial_dims) for _ in range(NUM_EXPERTS))
    routed = build_routed_network(plain, [network.state_dict() for network in (*experts, plain)])
    size = [args.size] * args.spatial_dims
    images = torch.randn(args.slices if args.adaptation else args.batch, 3, *size)
    if args.adaptation:
        seconds = medians(adaptations(routed, plain, images, args.batch, args.epochs), args.repeats)
    else:
        with torch.no_grad():
            seconds = medians(forward_passes(routed, plain, images), args.repeats)
    reference = "routed" if args.adaptation else "plain"
    what = f"adaptation to {args.slices} slices, {args.epochs} epochs" if args.adaptation else "forward pass"
    print(f"{what}: batch {args.batch}, {'x'.join(map(str, size))}, {args.threads} thread(s), median of {args.repeats}")
    for name, value in seconds.items():
        print(f"{name:24s} {1e3 * value:9.1f} ms {value / seconds[reference]:7.2f} x {reference}")


if __name__ == "__main__":
    main()
