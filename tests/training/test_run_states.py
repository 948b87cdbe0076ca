# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Private states of runs: apart, bounded in number, and none but good ones."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.training import RunStates, SiteStore, check_round, check_run

RUNS = [f"{number:032x}" for number in range(10)]
NAN = torch.tensor([1.0, float("nan")])


@pytest.fixture
def store(tmp_path: Path) -> SiteStore:
    return SiteStore(tmp_path, "job", "site-1")


def rounds(store: SiteStore, run: str = RUNS[0]) -> list[str]:
    return sorted(path.name for path in (store.folder / run).iterdir())


def test_the_last_two_rounds_are_kept(store: SiteStore) -> None:
    states = RunStates(store, RUNS[0])
    for number in (0, 1, 2, 5):
        states.save(number, {"x": number})
    assert rounds(store) == ["round-2.pt", "round-5.pt"]
    assert states.last(before=5) == (2, {"x": 2})
    assert states.last(before=9) == (5, {"x": 5})
    assert states.last(before=2) is None and RunStates(store, RUNS[1]).last(before=9) is None
    states.save(3, {"x": 3})  # resumed after round 2: what was begun later is void
    assert rounds(store) == ["round-2.pt", "round-3.pt"]
    assert {path.stat().st_mode & 0o777 for path in (store.folder / RUNS[0]).iterdir()} == {0o600}
    assert (store.folder / RUNS[0]).stat().st_mode & 0o777 == 0o700


def test_a_run_that_starts_again_forgets_its_own_states_only(store: SiteStore) -> None:
    store.save_model("personal.safetensors", {"w": torch.zeros(1)}, {})
    for run in RUNS[:2]:
        RunStates(store, run).save(3, {"run": run})
    RunStates(store, RUNS[1]).forget()
    assert RunStates(store, RUNS[0]).last(9) == (3, {"run": RUNS[0]}) and not rounds(store, RUNS[1])
    assert store.path("personal.safetensors").exists()


def test_of_other_runs_the_newest_four_are_kept(store: SiteStore) -> None:
    for age, run in enumerate(RUNS[1:8]):
        RunStates(store, run).save(0, {})
        os.utime(store.path("round-0.pt", run), times=(1000 - age, 1000 - age))  # the first is the newest
    (store.folder / RUNS[7] / "a person's.txt").write_text("")
    present = RunStates(store, RUNS[0])
    present.save(0, {})
    os.utime(store.path("round-0.pt", RUNS[0]), times=(1, 1))
    present.save(1, {})
    assert [run for run in RUNS if RunStates(store, run).last(9)] == RUNS[:5]
    assert [run for run in RUNS if (store.folder / run).exists()] == [*RUNS[:5], RUNS[7]]
    assert rounds(store) == ["round-0.pt", "round-1.pt"]


def test_a_link_among_the_runs_leads_nowhere(store: SiteStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "round-0.pt").write_text("")
    for run in RUNS[1:8]:
        (store.folder / run).symlink_to(tmp_path / "elsewhere")
    RunStates(store, RUNS[0]).save(0, {})
    assert (tmp_path / "elsewhere" / "round-0.pt").exists()
    with pytest.raises(InputError, match="expected a folder, got a link"):
        RunStates(store, RUNS[1]).save(0, {})


@pytest.mark.parametrize("number", [-1, 100_001, 10**18, 1.0, True, "1", None, float("nan")])
def test_a_number_that_is_no_round_s_changes_nothing(store: SiteStore, number: Any) -> None:
    states = RunStates(store, RUNS[0])
    states.save(4, {})
    with pytest.raises(InputError, match="round: expected a whole number from 0 to 100000, got"):
        states.save(number, {})
    assert rounds(store) == ["round-4.pt"]
    assert check_round(100_000) == 100_000


@pytest.mark.parametrize("run", ["", "a" * 31, "A" * 32, "../" + "a" * 29, "a" * 32 + "\n", None, 3, ["a"]])
def test_what_is_no_run_s_id(store: SiteStore, run: Any) -> None:
    with pytest.raises(InputError, match="run id: expected 32 hexadecimal digits, got"):
        RunStates(store, run)
    assert check_run("0123456789abcdef" * 2)


@pytest.mark.parametrize("state", [{"network": {"w": NAN}}, {"optimizer": {"state": {0: {"square_avg": NAN}}}}])
def test_a_state_that_is_not_finite_is_not_saved(store: SiteStore, state: dict[str, Any]) -> None:
    states = RunStates(store, RUNS[0])
    states.save(0, {"x": torch.ones(1)})
    for number in (1, 2, 3):
        with pytest.raises(InputError, match=r"site site-1: private state after round \d: .* is not finite; it is not"):
            states.save(number, state)
    assert states.last(9) == (0, {"x": torch.ones(1)})


def refused(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("name", ["unlink", "iterdir", "is_dir"])
def test_a_disk_that_refuses_is_one_line(store: SiteStore, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    states = RunStates(store, RUNS[0])
    for number in (0, 1):
        states.save(number, {})
    monkeypatch.setattr(Path, name, refused)
    actions = [states.forget, lambda: states.save(2, {})]
    for action in actions if name == "unlink" else [*actions, lambda: states.last(9)]:
        with pytest.raises(InputError, match=r"^site site-1: site store .*Read-only file system\); free"):
            action()
