# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of memory maps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flare_mri.data.cache import VolumeCache, cache_key, site_folder

MEGABYTE = np.ones((4, 256, 256), np.float32)


def never():
    raise AssertionError("read again")


def test_a_volume_is_made_once_and_read_by_slice(tmp_path, volume):
    calls = []
    opened = VolumeCache(tmp_path / "c", 10).open("key", lambda: calls.append(1) or volume)
    assert (opened.shape, len(opened), len(calls)) == (volume.shape, 6, 1)
    again = VolumeCache(tmp_path / "c", 10).open("key", never)
    for index in (0, 5, -1):
        assert np.array_equal(again[index], volume[index])
    assert again[0].flags.writeable and again[0].dtype == np.float32
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700


def test_the_longest_unused_goes_first(tmp_path):
    for age, key in enumerate(["new", "older", "oldest"]):
        VolumeCache(tmp_path, 10).open(key, lambda: MEGABYTE)
        os.utime(tmp_path / f"{key}.npy", (1e9 - age, 1e9 - age))
    VolumeCache(tmp_path, 10).open("oldest", never)  # being used makes it the youngest
    VolumeCache(tmp_path, 3).open("another", lambda: MEGABYTE)
    assert {path.stem for path in tmp_path.iterdir()} == {"oldest", "another"}


def test_left_over_temporary_files_are_evicted_too(tmp_path):
    (tmp_path / "x.tmp").write_bytes(bytes(2**20))
    os.utime(tmp_path / "x.tmp", (1e9, 1e9))
    VolumeCache(tmp_path, 2).open("key", lambda: MEGABYTE)
    assert [path.name for path in tmp_path.iterdir()] == ["key.npy"]


def test_volumes_in_use_are_never_evicted_but_refused(tmp_path, refused):
    cache = VolumeCache(tmp_path, 1)
    cache.open("one", lambda: MEGABYTE)
    refused(lambda: cache.open("two", lambda: MEGABYTE), "cache.limit_mb", "over 2.0", "got 1", "data.matrix")
    assert (tmp_path / "one.npy").exists()


@pytest.mark.parametrize("damage", ["gone", "short", "empty", "text"])
def test_a_lost_or_damaged_file_is_made_again(tmp_path, volume, damage):
    opened = VolumeCache(tmp_path, 10).open("key", lambda: volume)
    path = tmp_path / "key.npy"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"short": path.read_bytes()[:-100], "empty": b"", "text": b"not an array"}[damage])
    assert np.array_equal(opened[3], volume[3])


def test_a_failed_read_leaves_nothing_behind(tmp_path):
    def fails():
        raise KeyError("broken")

    with pytest.raises(KeyError):
        VolumeCache(tmp_path, 10).open("key", fails)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused(lambda: VolumeCache(tmp_path / "file", 10), "cache.folder", str(tmp_path / "file"), "set cache.folder")


def test_two_processes_at_once(tmp_path):
    script = (
        "import sys, numpy as np; from pathlib import Path; from flare_mri.data.cache import VolumeCache\n"
        "for turn in range(40):\n"
        "    volume = VolumeCache(Path(sys.argv[1]), 1).open(f'{turn % 5}', lambda: np.full((2, 256, 256), turn % 5))\n"
        "    assert volume[1].min() == volume[1].max() == turn % 5\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "custom")}
    runs = [subprocess.Popen([sys.executable, "-c", script, tmp_path], env=environment) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]


def test_the_key_follows_file_and_settings(tmp_path, refused):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    os.utime(path, ns=(1, 1))
    keys = [cache_key((path,), {"matrix": 1}), cache_key((path,), {"matrix": 1}), cache_key((path,), {"matrix": 2})]
    os.utime(path, ns=(1, 2))
    keys.append(cache_key((path,), {"matrix": 1}))
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 1))
    keys.append(cache_key((path,), {"matrix": 1}))
    assert keys[0] == keys[1] and len(set(keys)) == 4
    refused(lambda: cache_key((tmp_path / "gone",), None), "gone", "mount the data")


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/b"])
def test_a_site_name_does_not_lead_out_of_the_cache(tmp_path, name, refused):
    assert site_folder(tmp_path, "site-1") == tmp_path / "site-1"
    refused(lambda: site_folder(tmp_path, name), f"site {name!r}", "rename")
