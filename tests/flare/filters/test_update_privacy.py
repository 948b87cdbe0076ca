# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's privacy filters on changes of weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException

from conftest import TINY
from federation import Federation, context, weights_in
from flare_mri.errors import InputError
from flare_mri.flare.filters import UpdatePrivacy
from flare_mri.flare.filters.update_privacy import note_received
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.training import TrainingSettings

GENERATOR = torch.Generator().manual_seed(0)
RECEIVED = {"encoder.w": 5 + torch.randn(40, 50, generator=GENERATOR), "encoder.count": torch.tensor(3)}
CHANGE = 0.01 * torch.randn(40, 50, generator=GENERATOR)
TRAINED = {"encoder.w": RECEIVED["encoder.w"] + CHANGE, "encoder.count": torch.tensor(4)}


def sent(tmp_path: Path, gate: UpdatePrivacy, received: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    fl_ctx = context("site-1", "job", tmp_path)
    if received is not None:
        note_received(fl_ctx, received)
    return from_shareable(gate.process(DXO(DataKind.WEIGHTS, data=dict(TRAINED)).to_shareable(), fl_ctx)).data


def test_percentile_sends_the_largest_changes_clipped(tmp_path: Path) -> None:
    gate = UpdatePrivacy("percentile", {"percentile": 90, "gamma": 0.02})
    change = (sent(tmp_path, gate, RECEIVED)["encoder.w"] - RECEIVED["encoder.w"]).numpy()
    cutoff = np.percentile(np.abs(CHANGE.numpy()), 90)
    expected = np.where(np.abs(CHANGE.numpy()) >= cutoff, np.clip(CHANGE.numpy(), -0.02, 0.02), 0)
    np.testing.assert_allclose(change, expected, atol=2e-6)  # float32 weights around 5
    assert 0.05 < np.mean(change != 0) < 0.15


def test_svt_sends_a_fraction_of_noisy_changes(tmp_path: Path) -> None:
    gate = UpdatePrivacy("svt", {"fraction": 0.1, "epsilon": 1.0, "noise_var": 100.0, "gamma": 0.01, "replace": False})
    change = (sent(tmp_path, gate, RECEIVED)["encoder.w"] - RECEIVED["encoder.w"]).numpy()
    assert np.mean(np.abs(change) > 1e-6) <= 0.1 and np.any(change)
    noise = 2 * 0.01 / 100  # scale of FLARE's Laplace noise: 2 gamma / noise_var
    assert np.abs(change).max() <= 0.01 + 15 * noise, "clipped to gamma before the noise"
    other = (sent(tmp_path, gate, RECEIVED)["encoder.w"] - RECEIVED["encoder.w"]).numpy()
    assert not np.array_equal(change, other), "random, whatever the job's seed"


def test_integers_pass_and_the_trained_weights_stay_as_they_were(tmp_path: Path) -> None:
    before = TRAINED["encoder.w"].clone()
    assert sent(tmp_path, UpdatePrivacy("percentile", {"percentile": 99}), RECEIVED)["encoder.count"] == 4
    assert torch.equal(TRAINED["encoder.w"], before)


@pytest.mark.parametrize("received", [None, {"encoder.w": RECEIVED["encoder.w"]}])
def test_weights_of_unknown_origin_are_blocked(tmp_path: Path, received: dict[str, torch.Tensor] | None) -> None:
    with pytest.raises(ContentBlockedException):
        sent(tmp_path, UpdatePrivacy("percentile"), received)


def test_unusable_arguments() -> None:
    with pytest.raises(InputError, match="expected one of svt, percentile"):
        UpdatePrivacy("gauss")
    with pytest.raises(InputError, match="epsilonn"):
        UpdatePrivacy("svt", {"epsilonn": 1})
    with pytest.raises(InputError, match="IOP-FL sends personal models whole"):
        IOPFLRecipe(privacy="svt")


def test_arguments_out_of_range_send_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FLARE's filter refuses"):
        sent(tmp_path, UpdatePrivacy("percentile", {"percentile": 101}), RECEIVED)


def test_in_a_job_only_filtered_encoders_leave(tmp_path: Path, sites: list[str]) -> None:
    """99.9 % of the changes are withheld, so what leaves is nearly what came."""
    recipe = FedMRIRecipe(
        network=TINY,
        training=TrainingSettings(lr=1e-3),
        min_clients=3,
        num_rounds=2,
        include_code=False,
        privacy="percentile",
        privacy_arguments={"percentile": 99.9, "gamma": 1e-3},
    )
    federation = Federation(recipe, sites, tmp_path)
    federation.run()
    assert not federation.panics
    first = [weights_in(message) for _, task, message in federation.sent if task == "train"][: len(sites)]
    assert all(weights for weights in first)
    same = [float((first[0][key] == first[1][key]).float().mean()) for key in first[0]]
    assert np.mean(same) > 0.9, "without the filter no two sites agree in any weight"
