# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import attacks
import inversion_attack
import membership_attack
import numpy as np
import pytest
import torch
from torch import nn

DATA = Path(os.environ.get("FLARE_MRI_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_membership_is_found_where_losses_tell_it_and_not_where_they_do_not() -> None:
    owners, names = np.repeat(["a", "b", "c", "d"], 5), ["a", "b", "c", "d"]
    members = np.array([np.isin(owners, pair) for pair in (["a", "b"], ["c", "d"], ["a", "c"])])
    difficulty = np.random.default_rng(0).random(20)
    marked = np.ones(20, bool)
    told = membership_attack._attack(0, members, difficulty + 0.1 * ~members, owners, names, marked)
    assert told["AUC, shadow models, slices"] > 0.9 > told["AUC, loss, slices"], "shadows take the difficulty out"
    silent = membership_attack._attack(0, members, np.tile(difficulty, (3, 1)), owners, names, marked)
    assert silent["AUC, shadow models, slices"] == 0.5


class Dense(nn.Module):
    """An encoder whose gradient holds its input: of a dense layer it is the outer product of errors and input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.Tanh())
        self.decoder = nn.Linear(16, 256)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(image)).view(-1, 1, 16, 16)


def test_inversion_finds_an_image_where_the_gradient_tells_it() -> None:
    """And finds nothing in noise."""
    torch.manual_seed(0)
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 4:12, 4:12] = 1
    mask, start = torch.ones(16, 16, dtype=torch.bool), torch.rand(1, 1, 16, 16)
    network = Dense()
    seen = inversion_attack.encoder_gradient(network, truth, mask)
    found = [inversion_attack.invert(network, one, start, mask, 300) for one in (seen, torch.randn_like(seen))]
    like = [np.corrcoef(image.flatten(), truth.flatten())[0, 1] for image in found]
    assert like[0] > 0.8 > 0.4 > abs(like[1])


@pytest.mark.skipif(not (DATA / "brain").is_dir(), reason=f"no real data at {DATA}")
def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_MRI_DATA", str(DATA.resolve()))
    small = ["--attacks", "inversion", "--steps", "1", "--size", "32", "--channels", "4", "--workspace", str(tmp_path)]
    attacks.main(small)
    monkeypatch.setitem(attacks.ATTACKS, "inversion", (None, attacks.ATTACKS["inversion"][1]))  # type: ignore[arg-type]
    attacks.main(small)
