# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of reconstruction: 0 where output and target are equal, the same in any unit, and known names alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from federation import Federation
from flare_mri.config.training import LOSSES, TrainingSettings
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.training.losses import RECONSTRUCTION_LOSSES
from flare_mri.training.self_supervision import SSDU


def batch_of(target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """A magnitude as a sample has it: less its mean, divided by its standard deviation."""
    offset, scale = target.mean((1, 2, 3)), target.std((1, 2, 3))
    return {"offset": offset, "scale": scale}, (target - offset.view(-1, 1, 1, 1)) / scale.view(-1, 1, 1, 1)


@pytest.mark.parametrize("name", RECONSTRUCTION_LOSSES)
def test_they_are_least_at_the_target_and_have_gradients(name: str) -> None:
    torch.manual_seed(0)
    batch, target = batch_of(torch.rand(2, 1, 24, 20))
    loss = RECONSTRUCTION_LOSSES[name]
    output = (target + 0.3 * torch.randn_like(target)).requires_grad_()
    assert float(loss(target, target, batch)) == pytest.approx(0, abs=1e-6)
    value = loss(output, target, batch)
    value.backward()
    assert float(value) > 0.05 and torch.isfinite(output.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RECONSTRUCTION_LOSSES)
def test_the_scanner_s_unit_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    image, noise = torch.rand(2, 1, 24, 20), torch.randn(2, 1, 24, 20)
    values = []
    for unit in (1.0, 1e-5, 3e4):
        batch, target = batch_of(image * unit)
        values.append(float(RECONSTRUCTION_LOSSES[name](target + 0.1 * noise, target, batch)))
    assert values == pytest.approx([values[0]] * 3, rel=1e-3)


def test_every_name_of_the_setting_is_a_loss() -> None:
    choices = TrainingSettings.model_json_schema()["properties"]["loss"]["anyOf"][0]["enum"]
    assert set(choices) == {*RECONSTRUCTION_LOSSES, SSDU, *LOSSES["segmentation"]}
    with pytest.raises(InputError, match="loss: expected"):
        TrainingSettings.read({"loss": "huber"}, "job")
    with pytest.raises(InputError, match="loss: expected dice or dice_ce for segmentation, got 'l1'"):
        IOPFLRecipe(training=TrainingSettings(loss="l1"), include_code=False)


@pytest.mark.parametrize(("given", "told"), [(0, 7), (5, 5)])
def test_a_cosine_takes_the_job_s_rounds(tmp_path: Path, given: int, told: int) -> None:
    settings = TrainingSettings(lr_schedule="cosine", lr_rounds=given)
    recipe = FedMRIRecipe(num_rounds=7, training=settings, include_code=False)
    client = Federation(recipe, ["site-1"], tmp_path)._client
    assert client["executors"][0]["executor"]["args"]["training"]["lr_rounds"] == told
