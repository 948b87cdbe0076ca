# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of memory maps."""

import functools
import hashlib
import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest

from flare_mri.datasets import cache_file
from flare_mri.datasets.cache import VolumeCache, cache_key

FORK = multiprocessing.get_context("fork")  # processes that need not import first
MEGABYTE = np.ones((4, 256, 256), np.float32)


def key(name):
    return hashlib.md5(name.encode()).hexdigest()


def never():
    raise AssertionError("read again")


@pytest.fixture
def cache(tmp_path):
    """Opens the cache of site-1 in `tmp_path`, as a process of its own would."""
    return lambda limit_mb=10: VolumeCache(tmp_path, "site-1", limit_mb)


def volumes_in(cache):
    return {path.name for path in cache.folder.iterdir()} - {"owner.json"}


def test_a_volume_is_made_once_and_read_by_slice(cache, volume):
    calls = []
    opened = cache().open(key("a"), lambda: calls.append(1) or volume)
    assert (opened.shape, len(opened), len(calls)) == (volume.shape, 6, 1)
    again = cache().open(key("a"), never)
    for index in (0, 5, -1):
        assert np.array_equal(again[index], volume[index])
    assert again[0].flags.writeable and again[0].dtype == np.float32
    assert again.digest == opened.digest != cache().open(key("b"), lambda: volume[:5]).digest
    assert {path.stat().st_mode & 0o777 for path in cache().folder.iterdir()} == {0o600}


def test_slices_are_mapped_and_the_file_is_checked_once(cache, volume, monkeypatch):
    cache().open(key("a"), lambda: volume)
    checks, check = [], cache_file._digest
    monkeypatch.setattr(cache_file, "_digest", lambda values: checks.append(1) or check(values))
    held = cache()
    opened = held.open(key("a"), never)
    for index in range(6):
        assert np.array_equal(opened[index], volume[index])
    assert isinstance(held.load(key("a"), never), np.memmap) and len(checks) == 1


def test_the_longest_unused_goes_first(cache):
    for age, name in enumerate(["new", "older", "oldest"]):
        opened = cache()
        opened.open(key(name), lambda: MEGABYTE)
        os.utime(opened.path(key(name)), (1e9 - age, 1e9 - age))
    cache().open(key("oldest"), never)  # being used makes it the youngest
    opened = cache(3)
    opened.open(key("another"), lambda: MEGABYTE)
    assert volumes_in(opened) == {f"{key(name)}.npy" for name in ("oldest", "another")}


def test_only_volumes_are_counted_and_removed(cache):
    folder = cache().folder
    names = ["patient.npy", "scan.dcm", f"{key('x')}.npz", f"x{key('x')}.npy", f"{key('x').upper()}.npy", "y.tmp"]
    for name in names:
        (folder / name).write_bytes(bytes(2**20))
        os.utime(folder / name, (1e9, 1e9))
    os.utime(folder, (1e9, 1e9))
    (folder / key("x")).mkdir()
    for turn in range(4):
        cache(2).open(key(str(turn)), lambda: MEGABYTE)
    assert volumes_in(cache()) == {*names, key("x"), f"{key('3')}.npy"}


def test_volumes_in_use_are_never_evicted_but_refused(cache, refused):
    opened = cache(1)
    opened.open(key("one"), lambda: MEGABYTE)
    refused(
        lambda: opened.open(key("two"), lambda: MEGABYTE), "cache.limit_mb", "over 2.0", "got 1", "data.spatial_size"
    )
    assert opened.path(key("one")).exists()


def damaged(content, damage):
    content = bytearray(content)
    places = {"byte": len(content) // 2, "header": 20, "shape": content.index(b"20"), "digest": -1}
    if damage in places:
        content[places[damage]] ^= 1
    return {"short": content[:-100], "long": content + b"0", "empty": b"", "text": b"not an array"}.get(damage, content)


@pytest.mark.parametrize("damage", ["short", "long", "empty", "text"])
def test_a_file_that_is_lost_or_damaged_while_it_is_used_is_made_again(cache, volume, damage):
    first = cache()
    opened, path = first.open(key("a"), lambda: volume), first.path(key("a"))
    for content in (None, damaged(path.read_bytes(), damage)):
        path.unlink() if content is None else path.write_bytes(content)
        assert np.array_equal(opened[3], volume[3])
        assert np.array_equal(cache().open(key("a"), never)[:], volume)


@pytest.mark.parametrize("damage", ["short", "long", "empty", "text", "byte", "header", "shape", "digest"])
def test_a_damaged_file_is_made_again_when_it_is_opened(cache, volume, damage):
    path = cache().path(key("a"))
    cache().open(key("a"), lambda: volume)
    path.write_bytes(damaged(path.read_bytes(), damage))
    assert np.array_equal(cache().open(key("a"), lambda: volume)[:], volume)
    assert np.array_equal(cache().open(key("a"), never)[:], volume)


def test_a_failed_read_leaves_nothing_behind(cache):
    def fails():
        raise KeyError("broken")

    with pytest.raises(KeyError):
        cache().open(key("a"), fails)
    assert not volumes_in(cache())


def test_a_full_disk_leaves_nothing_behind(cache, volume, refused, monkeypatch):
    def write(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", write)
    refused(lambda: cache().open(key("a"), lambda: volume), "cache.folder", "No space left", "set cache.folder")
    assert not volumes_in(cache())


def write_half(folder, half):
    def write(file, volume, version):
        file.write(bytes(2**20))
        file.flush()
        half.set()
        time.sleep(60)

    np.lib.format.write_array = write
    VolumeCache(folder, "site-1", 10).open(key("a"), lambda: MEGABYTE)


def test_what_a_killed_process_was_writing_goes_at_the_next_start(cache, tmp_path):
    """The file that a living one is writing stays."""
    half = FORK.Event()
    writer = FORK.Process(target=write_half, args=(tmp_path, half))
    writer.start()
    try:
        assert half.wait(60)
        (left,) = volumes_in(cache())
        assert left.startswith(f".{key('a')}.npy.") and left.endswith(".tmp")
    finally:
        writer.kill()
        writer.join()
    assert not volumes_in(cache())


def use_in_turns(folder, start):
    start.wait(60)
    for turn in range(40):
        make = functools.partial(np.full, (2, 256, 256), turn % 5)
        volume = VolumeCache(folder, "site-1", 1).open(key(str(turn % 5)), make)
        assert volume[1].min() == volume[1].max() == turn % 5


def test_two_processes_at_once(tmp_path):
    start = FORK.Barrier(3)
    runs = [FORK.Process(target=use_in_turns, args=(tmp_path / "new", start)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0] * 3


def test_the_key_follows_file_and_settings(tmp_path, refused):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    keys = [
        cache_key((path,), {"spatial_size": 1}),
        cache_key((path,), {"spatial_size": 1}),
        cache_key((path,), {"spatial_size": 2}),
    ]
    os.utime(path, ns=(1, 2))
    keys.append(cache_key((path,), {"spatial_size": 1}))
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 2))
    keys.append(cache_key((path,), {"spatial_size": 1}))
    assert keys[0] == keys[1] and len(set(keys)) == 4
    refused(lambda: cache_key((tmp_path / "gone",), None), "gone", "mount the data")


@pytest.mark.parametrize("how", ["in place", "cp -p", "rename"])
def test_new_content_of_the_same_size_and_time_has_a_new_key(tmp_path, how):
    path, new = tmp_path / "a", tmp_path / "b"
    for place, value in ((path, b"1"), (new, b"2")):
        place.write_bytes(bytes(10_000) + value + bytes(10_000))
        os.utime(place, (1e9, 1e9))
    before = cache_key((path,), None)
    time.sleep(0.02)  # file systems count ctime in ticks of 4 to 10 ms
    if how == "in place":
        path.write_bytes(new.read_bytes())
        os.utime(path, (1e9, 1e9))
    elif how == "cp -p":
        shutil.copy2(new, path)
    else:
        new.replace(path)  # as rsync -t does
    assert path.stat().st_mtime == 1e9 and path.stat().st_size == 20_001
    assert cache_key((path,), None) != before


@pytest.mark.parametrize("place", [3, -3])
def test_the_key_looks_at_both_ends_of_a_file(tmp_path, monkeypatch, place):
    """On a file system with neither inodes nor ctime, a header or the checksum of gzip tells."""
    path, fstat = tmp_path / "a", os.fstat

    def blind(handle):
        state = list(fstat(handle))
        state[1] = state[7] = state[8] = state[9] = 0  # inode and times
        return os.stat_result(state)

    monkeypatch.setattr(os, "fstat", blind)
    content = bytearray(100_000)
    path.write_bytes(content)
    before = cache_key((path,), None)
    content[place] = 1
    path.write_bytes(content)
    assert cache_key((path,), None) != before


def test_a_pipe_does_not_hang_the_key(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert len(cache_key((tmp_path / "pipe",), None)) == 32
