# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Models, sites and scans for tests of MONAI bundles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel
import torch

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.networks import build_network
from monai_networks import spec

OWN: dict[str, Any] = {"channels": 4, "num_pools": 2, "norm": "batch"}


ORGANS = ("liver", "kidney")


NETWORKS: dict[str, dict[str, Any]] = {
    "own": {"path": "flare_mri.networks.unet.UNet", "args": {**OWN, "in_channels": 3, "out_channels": 3}},
    "own 3D": {
        "path": "flare_mri.networks.unet.UNet",
        "args": {**OWN, "in_channels": 1, "out_channels": 3, "spatial_dims": 3},
    },
    "MONAI": spec("UNet", spatial_dims=2, in_channels=3, out_channels=3),
    "MONAI 3D": spec("UNet", spatial_dims=3, in_channels=1, out_channels=3),
}


def site(tmp_path: Path, scans: Path, more: str = "", size: str = "[24, 32]") -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(f"data: {{format: prostate, root: {scans}, spatial_size: {size}{more}}}\n")
    return load_site_config(path, "saint-mary")


def model(name: str, **changed: Any) -> PersonalModel:
    settings, patch = NETWORKS[name], (8, 16, 16) if name.endswith("3D") else None
    network, noise = build_network(settings, 8), torch.Generator().manual_seed(1)
    size = [settings["args"]["in_channels"], *(patch or (24, 32))]
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 0.9
    for _ in range(3):  # statistics as after training
        network(torch.randn(4, *size, generator=noise))
    state = network.state_dict()
    plan = SegmentationPlan(organs=ORGANS, patch_size=patch)
    known = PersonalModel("study-7", "saint-mary", "segmentation", settings, state, (24, 32), ("RAS",), 2, plan=plan)
    return replace(known, **{"batch_size": 4, **changed})


def run_bundle(bundle: Path, scans: Path, out: Path) -> dict[str, Any]:
    """Files of the results by name, after MONAI ran the bundle."""
    config = str(bundle / "configs" / "inference.json")
    monai.bundle.run(config_file=config, bundle_root=str(bundle), dataset_dir=str(scans), output_dir=str(out))
    return {path.name: nibabel.load(path) for path in sorted(out.iterdir())}
