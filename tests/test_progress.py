# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Bars of long work: of items, and of the batches that a network is given."""

import sys

import pytest
import torch
from tqdm import tqdm

from flare_mri import progress


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[tqdm]:
    """The bars that are drawn, as on a terminal and at once."""
    drawn: list[tqdm] = []

    class Bar(tqdm):
        def __init__(self, *args: object, **options: object):
            super().__init__(*args, **{**options, "disable": False, "delay": 0, "mininterval": 0, "file": sys.stderr})
            drawn.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    return drawn


def test_a_network_is_counted_batch_by_batch_and_left_as_it_was(bars: list[tqdm]) -> None:
    network = torch.nn.Linear(2, 2)
    with progress.with_progress_of(network, "a scan", 3):
        outputs = [network(torch.ones(1, 2)) for _ in range(3)]
    assert all(torch.equal(output, network(torch.ones(1, 2))) for output in outputs)
    (bar,) = bars
    assert (bar.n, bar.total, bar.desc) == (3, 3, "a scan")
    assert not network._forward_hooks


def test_a_failure_takes_the_counter_off_the_network(bars: list[tqdm]) -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError), progress.with_progress_of(network, "a scan", None):
        network(torch.zeros(1, 3))
    assert not network._forward_hooks


def test_a_log_holds_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.with_progress([1, 2], "reading")) == [1, 2]
    assert capsys.readouterr().err == ""
