# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Updates are put away as they come: the average is that of all of them in memory, and one is held at a time."""

import gc
import os
import resource
import shutil
import statistics
import weakref
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from scipy.stats import trim_mean

from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator, round_updates
from flare_mri.flare.aggregators.update_file import UpdateFile

REFERENCE = {
    "encoder.weight": torch.linspace(-1, 1, 30).reshape(5, 6),
    "encoder.scale": torch.tensor(0.5),
    "encoder.none": torch.empty(0, 3),
    "encoder.count": torch.tensor([1, 2]),
}
SIZES = (0.5, 1.0, 0.7, 9.0, 2.0)  # one is more than three times the lower median, and is scaled down
SLICES = (10, 20, 30, 5000, 7)


def update(number: int, sign: float = 1.0, round_number: int = 2) -> FLModel:
    generator = torch.Generator().manual_seed(number)
    moved = SIZES[number] * torch.randn(5, 6, generator=generator)
    params = {
        "encoder.weight": REFERENCE["encoder.weight"] + sign * moved,
        "encoder.scale": torch.tensor(0.5 + sign * 0.1 * number),
        "encoder.none": torch.empty(0, 3),
        "encoder.count": torch.tensor([number, 5 - number]),
    }
    return FLModel(
        params_type=ParamsType.FULL,
        params=params,
        metrics={"slices/train": float(SLICES[number])},
        current_round=round_number,
        meta={"client_name": f"site-{number}"},
    )


def begin(**options: object) -> PartialAggregator:
    aggregator = PartialAggregator(**options)  # type: ignore[arg-type]
    aggregator.begin_round(REFERENCE, 2)
    return aggregator


def finish(aggregator: PartialAggregator) -> dict[str, torch.Tensor]:
    aggregator.compare_norms()
    return aggregator.aggregate_model().params


def slow(weighting: str, average: str) -> np.ndarray:
    """The rule written out, with all updates in memory: scale down by the lower median, then average."""
    moves = [
        np.append((update(i).params["encoder.weight"] - REFERENCE["encoder.weight"]).numpy().ravel(), 0.1 * i)
        for i in range(len(SIZES))
    ]
    norms = [float(np.linalg.norm(move.astype(np.float64))) for move in moves]
    most = 3 * statistics.median_low(norms)
    moves = [move * min(1, most / size) for move, size in zip(moves, norms, strict=True)]
    assert sum(size > most for size in norms) == 1
    if average == "median":
        return np.median(moves, axis=0)
    if average == "trimmed_mean":
        return trim_mean(np.array(moves), 0.2, axis=0)
    claims = [min(s, 10 * statistics.median_low(SLICES)) for s in SLICES]
    return np.average(moves, axis=0, weights=claims if weighting == "slices" else None)


CASES = [("equal", "mean"), ("slices", "mean"), ("equal", "median"), ("equal", "trimmed_mean"), ("equal", "krum")]


@pytest.mark.parametrize(("weighting", "average"), CASES)
def test_any_order_of_arrival_is_the_rule_written_out_and_one_result_to_the_bit(weighting: str, average: str) -> None:
    first = None
    for order in list(permutations(range(5)))[::7]:
        aggregator = begin(weighting=weighting, average=average)
        assert all(aggregator.accept_model(update(number)) for number in order)
        found = finish(aggregator)
        first = first or found
        assert all(torch.equal(found[key], first[key]) for key in REFERENCE)
        assert found["encoder.none"].shape == (0, 3) and found["encoder.scale"].shape == ()
    assert first is not None
    if average != "krum":
        moved = torch.cat([(first[k] - REFERENCE[k]).reshape(-1) for k in ("encoder.weight", "encoder.scale")])
        np.testing.assert_allclose(moved.numpy(), slow(weighting, average), rtol=2e-5, atol=1e-6)
        assert first["encoder.count"].tolist() == [4, 5]


@pytest.mark.parametrize(("weighting", "average"), CASES)
def test_pieces_are_the_whole(weighting: str, average: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def average_of_all() -> dict[str, torch.Tensor]:
        aggregator = begin(weighting=weighting, average=average)
        assert all(aggregator.accept_model(update(number)) for number in range(5))
        return finish(aggregator)

    whole = average_of_all()
    monkeypatch.setattr(round_updates, "_PIECE", 5 * 7)  # seven numbers of each update at a time
    pieces = average_of_all()
    assert all(torch.equal(whole[key], pieces[key]) for key in REFERENCE)


def test_one_update_is_held_at_a_time() -> None:
    """No tensor of an update outlives its arrival, and none of what is read from the file its use."""
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def count() -> int:
        gc.collect()
        return sum(tensor() is not None for tensor in alive)

    aggregator = begin(average="mean")
    for number in range(5):
        model = update(number)
        alive += [weakref.ref(tensor) for tensor in model.params.values()]
        most = max(most, count())
        assert aggregator.accept_model(model)
        del model
        assert count() == 0
    assert most == len(REFERENCE)  # those of the one that has just come
    aggregator.compare_norms()
    counted = aggregator.counted()
    assert list(counted) == [f"site-{number}" for number in range(5)] and "site-9" not in counted
    for site in counted:
        state = counted[site]
        alive += [weakref.ref(tensor) for tensor in state.values()]
        assert count() == len(REFERENCE)
        del state
        assert count() == 0


def test_what_counted_is_what_is_given_to_the_method() -> None:
    aggregator = begin()
    assert all(aggregator.accept_model(update(number)) for number in range(5))
    mean = finish(aggregator)
    counted = aggregator.counted()
    assert set(aggregator.clipped) == {"site-3"}
    torch.testing.assert_close(
        torch.stack([state["encoder.weight"].double() for state in counted.values()]).mean(0).float(),
        mean["encoder.weight"],
    )
    assert torch.equal(counted["site-1"]["encoder.weight"], update(1).params["encoder.weight"])


def spoil(change: Callable[[FLModel], None]) -> FLModel:
    model = update(2)
    change(model)
    return model


REFUSED = {
    "not finite": lambda m: m.params.update({"encoder.weight": torch.full((5, 6), float("nan"))}),
    "shape": lambda m: m.params.update({"encoder.weight": torch.zeros(6, 5)}),
    "stale": lambda m: setattr(m, "current_round", 1),
    "second answer": lambda m: m.meta.update(client_name="site-0"),
    "far too large": lambda m: m.params.update({"encoder.weight": torch.full((5, 6), 1e9)}),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_refused_leaves_the_others_as_they_are(change: Callable[[FLModel], None], place: int) -> None:
    if place == 0 and change is REFUSED["second answer"]:
        place = 2  # there is none before the first
    good = begin()
    assert all(good.accept_model(update(number)) for number in (0, 1))
    expected = finish(good)
    aggregator, numbers = begin(), [0, 1]
    for position in range(3):
        aggregator.accept_model(spoil(change) if position == place else update(numbers.pop(0)))
    found = finish(aggregator)
    assert len(aggregator.rejected) == 1 and sorted(aggregator.accepted) == ["site-0", "site-1"]
    assert all(torch.equal(found[key], expected[key]) for key in REFERENCE)


def test_the_file_has_no_name_and_goes_with_the_round(tmp_path: Path) -> None:
    aggregator = PartialAggregator()
    aggregator.folder = tmp_path
    before = len(os.listdir("/proc/self/fd"))
    for round_number in range(3):
        aggregator.begin_round(REFERENCE, round_number)
        assert aggregator.accept_model(update(0, round_number=round_number))
        assert not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) == before + 1
    aggregator.reset_stats()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not aggregator.accept_model(update(0)) and "outside of a round" in aggregator.rejected["site-0"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """The kernel refuses to let a file grow beyond two updates, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * (31 * 4 + 2 * 8), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_and_what_came_before_stays() -> None:
    aggregator = begin()
    assert aggregator.accept_model(update(0)) and aggregator.accept_model(update(1))
    with pytest.raises(InputError, match="updates of the round cannot be kept in .*: File too large; 0.00014 MB"):
        aggregator.accept_model(update(2))
    assert sorted(aggregator.accepted) == ["site-0", "site-1"]
    assert torch.equal(aggregator.counted()["site-1"]["encoder.weight"], update(1).params["encoder.weight"])


def test_too_little_space_is_told_before_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    UpdateFile(REFERENCE, tmp_path, 7).close()
    with pytest.raises(InputError, match=r"updates of 8 sites take 1.12e-06 GB in .*, got 1e-06 GB; free some, or ask"):
        UpdateFile(REFERENCE, tmp_path, 8)
    with pytest.raises(InputError, match="cannot be kept in /nowhere/at/all: No such file or directory"):
        monkeypatch.undo()
        UpdateFile(REFERENCE, Path("/nowhere/at/all"))
