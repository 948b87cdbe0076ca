# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pickle
from pathlib import Path
from unittest.mock import ANY

import pytest
import safetensors
import safetensors.torch
import torch

from flare_mri.errors import InputError
from flare_mri.learners import SiteStore


def test_round_trip(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "fedmri", "site-1")
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.RMSprop(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    store.save("round-0.pt", {"optimizer": optimizer.state_dict(), "best": None, "round": 3})
    loaded = SiteStore(tmp_path, "fedmri", "site-1").load("round-0.pt")
    assert loaded is not None and loaded["round"] == 3
    assert torch.equal(loaded["optimizer"]["state"][0]["square_avg"], optimizer.state_dict()["state"][0]["square_avg"])
    assert store.load("round-1.pt") is None


def test_jobs_and_sites_are_apart(tmp_path: Path) -> None:
    SiteStore(tmp_path, "fedmri", "site-1").save("a.pt", {"x": 1})
    assert SiteStore(tmp_path, "fedmri", "site-2").load("a.pt") is None
    assert SiteStore(tmp_path, "fedavg", "site-1").load("a.pt") is None


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a\n"])
def test_names_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        SiteStore(tmp_path, name, "site-1")
    with pytest.raises(InputError):
        SiteStore(tmp_path, "job", name)
    with pytest.raises(InputError):
        SiteStore(tmp_path, "job", "site-1").path(name)


def test_a_write_that_fails_keeps_the_old_state(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    store.save("round.pt", {"x": 1})

    class Unwritable:
        def __reduce__(self) -> str:
            raise OSError("No space left on device")

    with pytest.raises(InputError, match=r"site site-1: cannot write .*round\.pt \(No space left.*state is kept"):
        store.save("round.pt", {"x": Unwritable()})
    assert store.load("round.pt") == {"x": 1}
    assert [p.name for p in store.folder.iterdir()] == ["round.pt"]


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    store.save("round.pt", {"x": torch.zeros(1000)})
    content = store.path("round.pt").read_bytes()
    store.path("round.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"round\.pt cannot be read"):
        store.load("round.pt")
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(marker),)

    store.path("evil.pt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InputError):
        store.load("evil.pt")
    assert not marker.exists()


def test_model_file_describes_itself(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    store.save_model("personal.safetensors", {"w": torch.eye(3).t()}, {"job": "job"})
    with safetensors.safe_open(store.path("personal.safetensors"), "pt") as file:
        assert json.loads(file.metadata()["flare_mri"]) == {"job": "job", "checksum": ANY}
        assert torch.equal(file.get_tensor("w"), torch.eye(3))


def test_a_second_run_keeps_the_model_of_the_first(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    assert store.save_model("personal.safetensors", {"w": torch.zeros(1)}, {}) is None
    first = store.path("personal.safetensors").read_bytes()
    former = store.save_model("personal.safetensors", {"w": torch.ones(1)}, {})
    assert former == store.path("former-personal.safetensors") and former.read_bytes() == first
    assert torch.equal(safetensors.torch.load_file(store.path("personal.safetensors"))["w"], torch.ones(1))


def test_the_last_two_rounds_are_kept(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    for number in (0, 1, 2, 5):
        store.save_round(number, {"run": "a", "x": number})
    assert sorted(p.name for p in store.folder.iterdir()) == ["round-2.pt", "round-5.pt"]
    assert store.last_round("a", before=5) == (2, {"run": "a", "x": 2})
    assert store.last_round("a", before=9) == (5, {"run": "a", "x": 5})
    assert store.last_round("a", before=2) is None and store.last_round("b", before=9) is None
    store.save_round(3, {"run": "a", "x": 3})  # resumed after round 2: what was begun later is void
    assert sorted(p.name for p in store.folder.iterdir()) == ["round-2.pt", "round-3.pt"]


def test_a_new_run_forgets_states_and_keeps_the_personal_model(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    store.save_round(0, {"run": "a"})
    store.save_model("personal.safetensors", {"w": torch.zeros(1)}, {})
    store.forget_rounds()
    assert [p.name for p in store.folder.iterdir()] == ["personal.safetensors"]
