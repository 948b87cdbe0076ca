# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import safetensors
import safetensors.torch
import torch

from flare_mri.errors import InputError
from flare_mri.training import SiteStore

RUN = "a" * 32


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
        SiteStore(tmp_path, "job", "site-1").path(name or "..")
    if name:
        with pytest.raises(InputError):
            SiteStore(tmp_path, "job", "site-1").path("a.pt", run=name)


def test_a_name_that_no_file_system_takes() -> None:
    with pytest.raises(InputError, match="^job name 'aaa.*at most 128; rename it"):
        SiteStore("/nowhere", "a" * 129, "site-1")


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
        assert json.loads(file.metadata()["flare_mri"]) == {"job": "job", "run": "", "checksum": ANY}
        assert torch.equal(file.get_tensor("w"), torch.eye(3))


def test_a_second_run_keeps_the_model_of_the_first(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    assert store.save_model("personal.safetensors", {"w": torch.zeros(1)}, {}) is None
    first = store.path("personal.safetensors").read_bytes()
    former = store.save_model("personal.safetensors", {"w": torch.ones(1)}, {})
    assert former == store.path("former-personal.safetensors") and former.read_bytes() == first
    assert torch.equal(safetensors.torch.load_file(store.path("personal.safetensors"))["w"], torch.ones(1))


def test_no_number_of_tasks_of_one_run_moves_the_model_of_the_run_before_away(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    honest = store.save_model("personal.safetensors", {"w": torch.zeros(1)}, {}, "a" * 32)
    assert honest is None
    for _ in range(3):
        former = store.save_model("personal.safetensors", {"w": torch.ones(1)}, {}, "b" * 32)
    assert former is None
    kept = safetensors.torch.load_file(store.path("former-personal.safetensors"))
    assert torch.equal(kept["w"], torch.zeros(1))


def test_folders_and_files_are_this_user_s_alone(tmp_path: Path) -> None:
    store = SiteStore(tmp_path / "store", "job", "site-1")
    store.lock()
    store.save("a.pt", {"x": 1})
    for folder in (tmp_path / "store", store.folder.parent, store.folder):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.folder.iterdir()} == {0o600}
    store.folder.chmod(0o755)  # as an earlier version made it
    assert SiteStore(tmp_path / "store", "job", "site-1").folder.stat().st_mode & 0o777 == 0o700
    store.folder.chmod(0o777)
    with pytest.raises(InputError, match=r"^site site-1: site store .*only its owner may write to, got mode 777"):
        SiteStore(tmp_path / "store", "job", "site-1")


def test_a_store_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    SiteStore(tmp_path / "store", "job", "site-1")
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o755


def test_what_a_killed_process_left_goes_at_the_next_lock(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    (store.folder / RUN).mkdir()
    (tmp_path / "outside").mkdir()
    (store.folder / "link").symlink_to(tmp_path / "outside")
    left = [store.folder / ".personal.safetensors.0123abcd.tmp", store.folder / RUN / ".round-3.pt.abcd1234.tmp"]
    others = [store.folder / ".nfs0001", store.folder / "round.pt", tmp_path / "outside" / ".round-3.pt.abcd1234.tmp"]
    for path in (*left, *others):
        path.write_text("x")
    other = SiteStore(tmp_path, "job", "site-1")
    assert all(path.exists() for path in left), "only who holds the lock may remove them"
    other.lock()
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    (tmp_path / "target").write_text("precious")
    path = store.path("lock")
    make = {"link": lambda: path.symlink_to(tmp_path / "target"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}
    make[kind]()
    with pytest.raises(InputError, match="^site site-1: .*(lock|site store)"):
        store.lock()
    assert (tmp_path / "target").read_text() == "precious"


def test_a_lock_holds_no_more_than_the_number_of_its_process(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    store.path("lock").write_bytes(b"\xff" * 100)
    store.lock()
    assert store.path("lock").read_text() == str(os.getpid())


def refused(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("name", ["iterdir", "exists"])
def test_a_disk_that_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    monkeypatch.setattr(Path, name, refused)
    actions = {
        "iterdir": [store.lock],
        "exists": [lambda: store.load("a.pt"), lambda: store.save_model("m.safetensors", {}, {})],
    }
    for action in actions[name]:
        with pytest.raises(InputError, match=r"^site site-1: site store .*Read-only file system\); free"):
            action()
    monkeypatch.undo()
    store.lock()  # the failed one holds nothing


def test_a_file_in_the_folder_s_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("")
    with pytest.raises(InputError, match="^site site-1: site store .*expected a folder, got a link or a file"):
        SiteStore(tmp_path, "job", "site-1")


def test_a_model_that_is_not_finite_replaces_none(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    for value in (1.0, 2.0):
        store.save_model("personal.safetensors", {"w": torch.tensor([value])}, {})
    kept = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    assert len(kept) == 2
    for value in (float("nan"), float("inf")) * 2:
        with pytest.raises(InputError, match=r"^site site-1: personal\.safetensors: w is not finite; it is not saved"):
            store.save_model("personal.safetensors", {"w": torch.tensor([value])}, {})
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == kept
