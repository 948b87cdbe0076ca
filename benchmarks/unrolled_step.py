# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of a training step of the unrolled network against the sum of its parts in plain PyTorch, in one run.

    python benchmarks/unrolled_step.py --threads 1

The parts: a U-Net forwards and backwards and the SENSE normal operator forwards and backwards, both once a cascade, the
adjoint of the measured samples once, and a step of Adam; with conjugate gradients the operator once more for every
iteration, in the forward and in the backward pass. They are written out below with nothing but PyTorch, and each is
timed alone. Step and parts take turns, so that a busy machine slows them alike.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from flare_mri.networks import UnrolledNetwork


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--spatial_size", type=int, default=128, help="height and width of the slices")
    parser.add_argument("--cascades", type=int, default=4)
    parser.add_argument("--data_consistency", choices=["hard", "soft", "cg"], default="hard")
    parser.add_argument("--iterations", type=int, default=5, help="of conjugate gradients")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def double_convolution(before: int, after: int) -> nn.Sequential:
    """Twice a 3x3 convolution, instance norm and LeakyReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.InstanceNorm2d(after)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)


class PlainUNet(nn.Module):
    """The default regulariser by hand: two channels, 16 features, 3 poolings."""

    def __init__(self) -> None:
        super().__init__()
        widths = (2, 16, 32, 64, 128)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(double_convolution(before, after) for before, after in pairs)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(after, before, 2, stride=2, bias=False),
                nn.InstanceNorm2d(before),
                nn.LeakyReLU(0.2, inplace=True),
            )
            for before, after in reversed(pairs[1:])
        )
        self.merge = nn.ModuleList(double_convolution(2 * before, before) for before, _ in reversed(pairs[1:]))
        self.output = nn.Conv2d(16, 2, 1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.down[0](x)]
        for block in list(self.down)[1:]:
            features.append(block(self.pool(features[-1])))
        x = features.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), features.pop()], dim=1))
        return self.output(x)


def make_parts(args: argparse.Namespace, maps: Tensor, mask: Tensor, kspace: Tensor) -> dict[str, Callable[[], None]]:
    """Each part of a step, by name; nothing is shifted, which frequencies and pixels do not show in their times."""
    unets = nn.ModuleList(PlainUNet() for _ in range(args.cascades)).to(maps.device)
    optimizer = torch.optim.Adam(unets.parameters(), lr=1e-3)
    pairs = torch.randn(args.batch_size, 2, args.spatial_size, args.spatial_size, device=maps.device)
    image = torch.view_as_complex(pairs.movedim(1, -1).contiguous())[:, None].requires_grad_()
    sampled, conjugates = mask.to(maps.dtype), maps.conj().resolve_conj()

    def regularise() -> None:
        for unet in unets:
            x = pairs.clone().requires_grad_()
            unet(x).backward(pairs)

    def measure() -> None:
        for _ in range(args.cascades):
            measured = sampled * torch.fft.fft2(maps * image, norm="ortho")
            combined = (conjugates * torch.fft.ifft2(measured, norm="ortho")).sum(1, keepdim=True)
            combined.backward(image.detach())

    @torch.no_grad()
    def iterate() -> None:
        for _ in range(args.cascades * 2 * args.iterations):
            measured = sampled * torch.fft.fft2(maps * image, norm="ortho")
            (conjugates * torch.fft.ifft2(measured, norm="ortho")).sum(1, keepdim=True)

    def adjoint() -> None:
        (conjugates * torch.fft.ifft2(sampled * kspace, norm="ortho")).sum(1, keepdim=True)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    parts = {"U-Nets": regularise, "normal operators": measure, "adjoint": adjoint, "Adam": update}
    return parts | ({"iterations": iterate} if args.data_consistency == "cg" else {})


def main(argv: list[str] | None = None) -> None:
    args = _parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    shape = (args.batch_size, args.coils, args.spatial_size, args.spatial_size)
    maps = torch.randn(shape, dtype=torch.complex64, device=device)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    mask = torch.rand(args.batch_size, 1, *shape[2:], device=device) < 0.3
    kspace = torch.randn(shape, dtype=torch.complex64, device=device)
    target = torch.rand(args.batch_size, 1, *shape[2:], device=device)
    options = {"iterations": args.iterations} if args.data_consistency == "cg" else {}
    network = UnrolledNetwork(args.cascades, data_consistency=args.data_consistency, data_consistency_args=options)
    network = network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step() -> None:
        (network(kspace, mask, maps) - target).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    ways = {"step": step, **make_parts(args, maps, mask, kspace)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.turns + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    whole = median(seconds.pop("step"))
    parts = {name: median(times) for name, times in seconds.items()}
    print(
        f"{args.device}, {args.threads} threads, {args.data_consistency} data consistency, batch {args.batch_size}, "
        f"{args.coils} coils, {args.spatial_size}x{args.spatial_size}, {args.cascades} cascades, median of {args.turns}"
    )
    for name, value in parts.items():
        print(f"{name:18s} {1e3 * value:8.1f} ms")
    print(f"sum of the parts   {1e3 * sum(parts.values()):8.1f} ms")
    print(f"step               {1e3 * whole:8.1f} ms, {whole / sum(parts.values()):.2f} times the sum")


if __name__ == "__main__":
    main()
