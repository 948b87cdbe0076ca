# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import torch

from flare_mri.methods.iop_fl import METHOD, advance
from flare_mri.routing.space import GLOBAL, SPACE_FILE, load_routing_space


def models(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"w": torch.randn(3, 2, generator=generator), "steps": torch.tensor(10 * i)} for i in range(count)]


def test_is_the_recurrence_of_the_paper() -> None:
    local, rate, trajectory, expected = models(4), 0.1, None, None
    for state in local:
        trajectory = advance(trajectory, state, rate)
        w = state["w"].double().numpy()
        expected = w if expected is None else rate * expected + (1 - rate) * w
    assert trajectory is not None and expected is not None
    np.testing.assert_allclose(trajectory["w"].numpy(), expected, rtol=1e-6)
    assert trajectory["steps"] == 30


def test_rate_zero_is_the_last_local_model() -> None:
    first, last = models(2)
    trajectory = advance(advance(None, first, 0.0), last, 0.0)
    assert torch.equal(trajectory["w"], last["w"])


def test_shares_no_memory_with_the_local_model() -> None:
    state = models(1)[0]
    trajectory = advance(None, state, 0.1)
    before = trajectory["w"].clone()
    state["w"].add_(1)
    assert torch.equal(trajectory["w"], before)
    following = advance(trajectory, state, 0.0)
    state["w"].add_(1)
    assert not torch.equal(following["w"], state["w"])


def test_a_score_that_is_none_costs_nobody_the_routing_space(tmp_path: Path) -> None:
    server = METHOD.server(METHOD.options())
    state = {"w": torch.zeros(2)}
    job = {"network": {"path": "flare_mri.networks.unet.UNet", "args": {}}, "training": {}}
    scores = {"": {"dice": 0.5}, "site-1": {"dice": 0.75, "hd95": 2.0}, "site-2": {"dice": 1e9}, "site-3": {}}
    told = server.finish(dict.fromkeys(("site-1", "site-2", "site-3"), state), state, job, tmp_path, scores)
    assert told.endswith("no Dice at home is known of site-2, site-3")
    assert load_routing_space(tmp_path / SPACE_FILE).dice == {"site-1": 0.75, GLOBAL: 0.5}
