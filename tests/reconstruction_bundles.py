# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Models and a site for tests of MONAI bundles of reconstruction."""

from pathlib import Path
from typing import Any

import torch

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.acquisition import Acquisition
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.networks import build_network
from monai_networks import spec

SMALL = {"channels": 4, "num_pools": 2}
UNROLLED = "flare_mri.networks.unrolled.UnrolledNetwork"
FEATURES = [4, 4, 4, 4, 4, 4]
NETWORKS: dict[str, dict[str, Any]] = {
    "unrolled": {"path": UNROLLED, "args": {"num_cascades": 2, "regulariser_args": SMALL}},
    "unrolled, combined": {
        "path": UNROLLED,
        "args": {
            "num_cascades": 2,
            "regulariser_args": SMALL,
            "data_consistency": "cg",
            "output": "combined",
        },
    },
    "unrolled, own sensitivities": {
        "path": UNROLLED,
        "args": {"num_cascades": 2, "regulariser_args": SMALL, "sensitivity_channels": 2},
    },
    "U-Net": {"path": "flare_mri.networks.unet.UNet", "args": SMALL},
    "dual-domain": {"path": "flare_mri.networks.dual_domain.DualDomainUNet", "args": SMALL},
    "variational": {
        "path": "flare_mri.networks.variational.VariationalNetwork",
        "args": {"num_cascades": 2, "features": FEATURES, "sensitivity_features": FEATURES},
    },
    "MONAI": spec("UNet", spatial_dims=2, in_channels=1, out_channels=1, channels=[4, 8, 8], strides=[2, 2]),
}
ONE_COIL = ("dual-domain",)


def model(name: str, **changed: Any) -> PersonalModel:
    network = build_network(NETWORKS[name], 3)
    for parameter in network.parameters():  # last layers start at zero, and would change nothing
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(parameter.numel()))
    learned = Acquisition("measured", 1 if name in ONE_COIL else 3, (24, 20), 2.0, (240.0, 200.0))
    more: dict[str, Any] = {"acquisition": learned, **changed}
    return PersonalModel(
        "study-7", "saint-mary", "reconstruction", NETWORKS[name], network.state_dict(), (24, 20), **more
    )


def site(
    tmp_path: Path, data: str = "{format: fastmri, root: data, simulate: false, sensitivities: low_pass}"
) -> SiteConfig:
    (tmp_path / "data").mkdir(exist_ok=True)
    path = tmp_path / "site.yaml"
    path.write_text(f"data: {data}\nmask: {{kind: equispaced, acceleration: 2, centre_fraction: 0.3}}\n")
    return load_site_config(path, "saint-mary")
