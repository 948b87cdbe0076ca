# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A picture of a measured, undersampled scan: zero-filled, CG-SENSE, l1-ESPIRiT and a hospital's model.

python benchmarks/measured_scan.py          after raw_reconstruction.py: measured-brain-8ch.h5, ge-fastmri's model

No fully sampled scan of it exists, so there is no score: the picture is there to be looked at. Needs the extra `raw`.
"""

import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from runs import JOBS
from torch import Tensor

from flare_mri.config.where import default_workspace
from flare_mri.flare.recipes.simulate import stores_path
from flare_mri.inference.personal_model import PERSONAL_FILE, load_personal_model
from flare_mri.io.raw.fastmri_file import read_fastmri_raw
from flare_mri.io.raw.scan import RawScan
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics.classical import cg_sense, l1_wavelet, root_sum_of_squares
from flare_mri.physics.coil_sensitivities import estimate_sensitivities

DATA = Path(os.environ.get("FLARE_MRI_DATA", JOBS.parents[1] / "shared" / "data"))


def reconstruct_all(scan: RawScan, model_path: Path, number: int = 0) -> dict[str, np.ndarray]:
    """Magnitudes [H, W] of one slice of a scan, by what made them, in the scan's own units."""
    model = load_personal_model(model_path)
    network = model.build()
    if not isinstance(network, UnrolledNetwork):
        raise SystemExit(
            f"{model_path}: expected an UnrolledNetwork, got {type(network).__name__}; choose another model"
        )
    kspace, mask = (torch.from_numpy(np.array(part[[number]])) for part in (scan.kspace, scan.mask))
    mask, highest = mask[:, None], root_sum_of_squares(kspace).max()
    kspace = kspace / highest
    maps = estimate_sensitivities(kspace, mask)
    with torch.inference_mode():
        images: dict[str, Tensor] = {
            "zero-filled": root_sum_of_squares(kspace),
            "CG-SENSE": cg_sense(kspace, mask, maps).abs(),
            "l1-ESPIRiT": l1_wavelet(kspace, mask, maps).abs(),
            f"model of {model.site}": network.eval()(kspace, mask, maps),
        }
    return {name: (image[0, 0] * highest).numpy() for name, image in images.items()}


def draw(images: dict[str, np.ndarray], out: Path) -> None:
    """All images, each with its enlarged part below, on one grey scale."""
    highest = max(float(np.quantile(image, 0.995)) for image in images.values())
    figure, axes = plt.subplots(2, len(images), figsize=(3 * len(images), 5), layout="constrained")
    for column, (name, image) in zip(axes.T, images.items(), strict=True):
        rows, columns = (slice(int(0.39 * size), int(0.72 * size)) for size in image.shape)
        for axis, part in zip(column, (image, image[rows, columns]), strict=True):
            axis.imshow(part, cmap="gray", vmin=0, vmax=highest, interpolation="nearest")
            axis.set_axis_off()
        column[0].set_title(name, fontsize=10)
    figure.savefig(out, dpi=80)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """`--model`, by default that of the GE site after raw_reconstruction.py."""
    model = stores_path(default_workspace()) / "raw-fedmri-0" / "ge-fastmri" / PERSONAL_FILE
    parser.add_argument("--model", type=Path, default=model, help="default: that of raw_reconstruction.py")


def main(argv: list[str] | None = None) -> None:
    """Reconstruct and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_argument(parser)
    parser.add_argument("--scan", type=Path, default=DATA / "raw" / "new" / "measured-brain-8ch.h5")
    parser.add_argument("--out", type=Path, default=Path("measured-scan.png"))
    args = parser.parse_args(argv)
    draw(reconstruct_all(read_fastmri_raw(args.scan), args.model), args.out)
    print(args.out)


if __name__ == "__main__":
    main()
