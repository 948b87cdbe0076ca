# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scans without labels, and a model that marks an organ in them, for tests of segmentation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.networks import build_network
from flare_mri.routing import build_routed_network
from flare_mri.training import SiteStore

SPEC: dict[str, Any] = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}
SETTINGS = "data: {{format: prostate, root: {root}, slice_axis: {axis}, spatial_size: [32, 32], fit: {fit}}}\n"
AFFINE = np.array([[-0.7, 0, 0.1, 30], [0, 0.6, 0, -20], [0, 0.1, 2.5, 7], [0, 0, 0, 1.0]])


def scans(folder: Path, count: int = 2, shape: tuple[int, ...] = (20, 36, 7), kind: Any = nibabel.Nifti1Image) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        values = (1000 * random.random(shape)).astype(np.int16)
        image = kind(values, AFFINE)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"Case{number:02d}.nii.gz")
    return folder


def settings(tmp_path: Path, root: Path, axis: int = 2, fit: str = "pad") -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(SETTINGS.format(root=root, axis=axis, fit=fit))
    return load_site_config(path, "site-1")


def plain() -> PersonalModel:
    return PersonalModel(
        "iopfl", "site-1", "segmentation", SPEC, build_network(SPEC, 8).state_dict(), (32, 32), ("RAS",)
    )


def other_state() -> dict[str, torch.Tensor]:
    return build_network(SPEC, 9).state_dict()


def routed() -> PersonalModel:
    plain_network, states = build_network(SPEC, 0), [build_network(SPEC, seed).state_dict() for seed in range(3)]
    state = build_routed_network(plain_network, states).state_dict()
    return replace(plain(), state=state, experts=("site-1", "site-2", "global"), batch_size=4)


def written(model: PersonalModel, folder: Path) -> Path:
    store = SiteStore(folder / "store", model.job, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    return store.path(PERSONAL_FILE)
