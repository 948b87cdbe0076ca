# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedRep: which part moves in which epoch."""

from typing import Any

import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.training import TrainingSettings
from tiny import RMSPROP, SGD, assert_equal, copied, learner_of, receivable


@pytest.mark.parametrize("settings", [SGD, RMSPROP], ids=["sgd", "rmsprop"])
def test_without_head_epochs_it_is_encoder_sharing(settings: TrainingSettings) -> None:
    fedrep, sharing = (
        learner_of("FedRep", settings=settings, head_epochs=0),
        learner_of("encoder-sharing", settings=settings),
    )
    shared = receivable(sharing)
    for number in range(2):
        fedrep.train(shared, number)
        sharing.train(shared, number)
    assert_equal(fedrep.network.state_dict(), sharing.network.state_dict())


def test_first_the_head_then_the_representation() -> None:
    site = learner_of("FedRep", head_epochs=2)
    states: list[dict[str, torch.Tensor]] = []
    begin = site.hooks.begin_epoch

    def watched(learner: Any, epoch: int) -> None:
        states.append(copied(learner.network.state_dict()))
        begin(learner, epoch)

    site.hooks.begin_epoch = watched  # type: ignore[method-assign]
    site.train(receivable(site), 0)
    states.append(copied(site.network.state_dict()))
    assert len(states) == 2 + SGD.local_epochs + 1
    for epoch, (before, after) in enumerate(zip(states, states[1:], strict=False)):
        moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
        assert moved == {"decoder" if epoch < 2 else "encoder"}, "buffers among them"
    assert all(parameter.requires_grad for parameter in site.network.parameters())


@pytest.mark.parametrize("layers", ["all", "none"])
def test_without_a_head_or_a_representation_it_is_refused(layers: str) -> None:
    with pytest.raises(InputError, match="site site-1: FedRep: expected a shared part and a private one"):
        learner_of("FedRep", layers=layers)


def test_after_an_aborted_round_both_parts_move() -> None:
    site = learner_of("FedRep", head_epochs=1)
    shared = receivable(site)
    steps = iter([False, True])
    with pytest.raises(Exception, match="aborted"):
        site.train(shared, 0, abort=lambda: next(steps))
    before = copied(site.network.state_dict())
    site.train(shared, 0)
    assert any(not torch.equal(before[key], value) for key, value in site.shared_state().items())
