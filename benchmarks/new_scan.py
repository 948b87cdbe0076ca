# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of an undersampled scan of a contrast that the model never saw: T1 after contrast agent, at the GE site.

python benchmarks/new_scan.py               after raw_reconstruction.py: PGBM-002_t1post_R4.h5, ge-fastmri's model

No fully sampled scan of it is at hand, but the magnitudes that its k-space was simulated from. The samples that were
not measured are completed with them, by the coils and the phase that the scan itself tells, and noise of its strength;
the target is that of the completed scan. With `--volume PGBM-002_t2 --check FOLDER` a fully sampled scan tells how
near such a target is to the true one. Needs the extra `raw`.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measured_scan import DATA, add_model_argument, reconstruct_all

from flare_mri.inference.reconstruction import score_images
from flare_mri.inference.scan_noise import estimate_noise
from flare_mri.io.raw.fastmri_file import read_fastmri_raw
from flare_mri.io.raw.scan import RawScan
from flare_mri.physics.classical import l1_wavelet, root_sum_of_squares
from flare_mri.physics.coil_sensitivities import estimate_sensitivities
from flare_mri.physics.fourier import fft2c


def complete_target(scan: RawScan, magnitudes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Root of the sum of squares over the coils [S, H, W] of a scan whose missing samples are those of an object.

    Args:
        scan: undersampled.
        magnitudes: of the object, [S, H, W], in the scan's units.
        seed: of the noise in the samples that are completed.
    """
    generator = torch.Generator().manual_seed(seed)
    strength = estimate_noise(scan.kspace, scan.mask) / math.sqrt(2)
    target = []
    for number, magnitude in enumerate(torch.from_numpy(magnitudes)):
        kspace, mask = (torch.from_numpy(np.array(part[[number]])) for part in (scan.kspace, scan.mask))
        maps = estimate_sensitivities(kspace, mask[:, None])
        image = torch.polar(magnitude[None, None], l1_wavelet(kspace, mask[:, None], maps).angle())
        noise = torch.view_as_complex(torch.randn(*kspace.shape, 2, generator=generator)) * strength
        full = torch.where(mask[:, None], kspace, fft2c(maps * image) + noise)
        target.append(root_sum_of_squares(full)[0, 0].numpy())
    return np.stack(target)


def score_scan(
    scan: RawScan, model_path: Path, magnitudes: np.ndarray, true: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """Scores of the reconstructions of :func:`measured_scan.reconstruct_all`.

    Args:
        scan: undersampled.
        model_path: the personal model.
        magnitudes: from which the scan was simulated, [S, H, W], in any unit.
        true: the target; by default that of :func:`complete_target`.
    """
    slices = [reconstruct_all(scan, model_path, number) for number in range(len(scan.kspace))]
    images = {name: np.stack([part[name] for part in slices]) for name in slices[0]}
    found = images["l1-ESPIRiT"]  # tells the unit: it has no noise floor, and no network made it
    unit = float((found * magnitudes).sum() / np.square(magnitudes).sum())
    target = complete_target(scan, (magnitudes * unit).astype(np.float32)) if true is None else true
    return {name: score_images(part, target) for name, part in images.items()}


def main(argv: list[str] | None = None) -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_argument(parser)
    parser.add_argument("--scan", type=Path, default=DATA / "raw" / "new" / "ge-fastmri" / "PGBM-002_t1post_R4.h5")
    parser.add_argument("--magnitudes", type=Path, default=DATA / "protocol" / "brain128" / "ge-dicom.npz")
    parser.add_argument("--volume", default="PGBM-002_t1post", help="of the magnitudes")
    parser.add_argument("--check", type=Path, help="folder of fully sampled scans: VOLUME.h5 of it, by the scan's mask")
    args = parser.parse_args(argv)
    with np.load(args.magnitudes, allow_pickle=False) as stored:
        magnitudes = stored["images"][stored["volume"] == args.volume]
    scan, targets = read_fastmri_raw(args.scan), {"completed": None}
    if args.check:
        full = read_fastmri_raw(args.check / f"{args.volume}.h5")
        targets["true"] = full.target
        scan = replace(full, kspace=full.kspace * scan.mask[:, None], mask=scan.mask, target=None)
    for kind, target in targets.items():
        for name, scores in score_scan(scan, args.model, magnitudes, target).items():
            print(f"{name:24s} {kind} target: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}")


if __name__ == "__main__":
    main()
