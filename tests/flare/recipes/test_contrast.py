# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site whose bright and dark are the other way round than at the others is told so, and of the key that mends it."""

import json
from pathlib import Path

import numpy as np
import pytest

from federation import Federation
from flare_mri.config.training import TrainingSettings
from flare_mri.flare.recipes import IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.io.nifti_file import write_nifti

NETWORK = {"path": "flare_mri.networks.unet.UNet", "args": {"norm": "batch", "channels": 4, "num_pools": 2}}
SITES = ["site-1", "site-2", "site-3", "site-4"]
TOLD = "bright and dark are the other way round than at most hospitals"


def settle(folder: Path, cache: Path, signs: tuple[int, ...], inverted: bool = False) -> None:
    """Four volumes of a bright organ in a darker body, or the other way round."""
    rng = np.random.default_rng(list(folder.name.encode()))
    for number, sign in enumerate(signs):
        image, label = rng.normal(100, 10, (32, 32, 8)), np.zeros((32, 32, 8), np.uint8)
        image[6:26, 6:26] += 60
        image[10:20, 10:20, 2:6] += 120
        label[10:20, 10:20, 2:6] = 1
        write_nifti(folder / "data" / f"Case{number}.nii.gz", (sign * image).astype(np.float32))
        write_nifti(folder / "data" / f"Case{number}_segmentation.nii.gz", label)
    (folder / "local").mkdir()
    data = {"format": "prostate", "root": "../data", "spatial_size": [32, 32], "inverted": inverted}
    settings = {"data": data, "split": {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "volume"}}
    (folder / "local" / "site.yaml").write_text(json.dumps({**settings, "cache": {"folder": str(cache)}}))


@pytest.mark.parametrize("inverted", [False, True])
def test_the_site_of_the_other_contrast_is_told(
    tmp_path: Path, cache: Path, inverted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for site in SITES:
        other = site == "site-3"
        settle(tmp_path / site, cache, (-1 if other else 1,) * 4, inverted and other)
    learn = TrainingSettings(optimizer="adam", lr=1e-2, lr_step=0, local_epochs=2)
    recipe = IOPFLRecipe(min_clients=4, num_rounds=4, network=NETWORK, training=learn, include_code=False)
    federation = Federation(recipe, SITES, tmp_path)
    federation.run()
    assert not federation.panics
    told = [record.getMessage() for record in caplog.records if TOLD in record.getMessage()]
    if not inverted:
        assert len(told) == 1 and "site site-3: " in told[0] and "set data.inverted the other way" in told[0]
        return
    assert told == []
    settle(tmp_path / "outside-1", cache, (1, 1, -1, 1))
    space = str(tmp_path / "server" / "routing_space.safetensors")
    outside = Federation(IOPFLOutsideRecipe(routing_space=space, include_code=False), ["outside-1"], tmp_path)
    outside.run()
    told = "the other way round in 1 volume{} than in the others"
    log = (tmp_path / "outside-1" / "flare_mri.log").read_text()
    assert not outside.panics and told.format("") in caplog.text and told.format(" (case2)") in log
    assert "case2" not in caplog.text.lower()
