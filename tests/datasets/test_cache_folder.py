# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Place of the cache: never among data, and nothing in it goes that it has not put there."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_mri.datasets.cache import VolumeCache
from flare_mri.datasets.cache_folder import MARK, VOLUMES, claim_folder, site_folder
from flare_mri.datasets.volumes import open_volumes
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_own_folder_is_made_and_marked(tmp_path):
    tmp_path.chmod(0o755)
    folder = claim_folder(tmp_path, "site-1")
    assert folder == tmp_path / VOLUMES / "site-1" == claim_folder(tmp_path, "site-1")
    assert mode(folder) == mode(folder.parent) == 0o700 and mode(tmp_path) == 0o755
    assert json.loads((folder / MARK).read_text())["site"] == "site-1" and mode(folder / MARK) == 0o600
    assert [path.name for path in folder.iterdir()] == [MARK]


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/b"])
def test_a_site_name_does_not_lead_out_of_the_cache(tmp_path, name, refused):
    assert site_folder(tmp_path, "site-1") == tmp_path / VOLUMES / "site-1"
    refused(lambda: claim_folder(tmp_path, name), f"site {name!r}", "rename")


def test_files_of_others_are_left_alone(tmp_path, refused):
    folder = site_folder(tmp_path, "site-1")
    folder.mkdir(parents=True)
    (folder / "patient.npy").write_bytes(b"the only copy")
    refused(lambda: VolumeCache(tmp_path, "site-1", 1), "cache.folder", "got 'patient.npy' without it", "set another")
    assert (folder / "patient.npy").read_bytes() == b"the only copy" and not (folder / MARK).exists()


@pytest.mark.parametrize(
    "content", ['{"format": "flare-mri cached volumes", "version": 1, "site": "site-2"}', "[]", "{", ""]
)
def test_a_folder_of_another_mark_is_refused(tmp_path, refused, content):
    mark = claim_folder(tmp_path, "site-1") / MARK
    mark.write_text(content)
    refused(lambda: claim_folder(tmp_path, "site-1"), str(mark), "set another cache.folder")
    assert mark.read_text() == content


def test_a_mark_that_a_killed_process_did_not_finish(tmp_path):
    folder = site_folder(tmp_path, "site-1")
    folder.mkdir(parents=True)
    (folder / f".{MARK}.0123abcd.tmp").write_text("{")
    assert (claim_folder(tmp_path, "site-1") / MARK).exists()


def test_a_link_or_a_folder_that_others_may_write_to_is_refused(tmp_path, refused):
    (tmp_path / "data").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / VOLUMES).symlink_to(tmp_path / "data")
    refused(lambda: claim_folder(tmp_path / "one", "site-1"), "cache.folder", "got a link")
    claim_folder(tmp_path / "two", "site-1").chmod(0o770)
    refused(lambda: claim_folder(tmp_path / "two", "site-1"), "cache.folder", "got mode 770")


def test_a_folder_that_cannot_be_made(tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused(lambda: claim_folder(tmp_path / "file", "site-1"), "cache.folder", str(tmp_path / "file"), "cannot be made")


@pytest.fixture
def data(tmp_path, write_nifti, volume) -> Path:
    """A root of two volumes with a link to it and a folder above it."""
    root = tmp_path / "data" / "hospital-1"
    for name in ("a", "b"):
        write_nifti(root / f"{name}.nii", volume)
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "above").symlink_to(tmp_path / "data")
    np.save(tmp_path / "data" / "mask.npy", np.ones((20, 24)))
    return root


@pytest.mark.parametrize(
    ("root", "cache", "got"),
    [
        ("data/hospital-1", "data", "that holds it"),
        ("data/hospital-1", "data/hospital-1", "inside it"),
        ("data/hospital-1", "data/hospital-1/new/cache", "inside it"),
        ("link", "data", "that holds it"),
        ("link", "data/hospital-1/cache", "inside it"),
        ("data/hospital-1", "above", "that holds it"),
        ("data/hospital-1", "link/cache", "inside it"),
    ],
)
def test_a_cache_that_overlaps_the_data_is_refused(data, load, tmp_path, refused, root, cache, got):
    before = {path: path.read_bytes() for path in data.iterdir()}
    config = load(f"data: {{format: nifti, root: {root}, slice_axis: 0}}\ncache: {{folder: {cache}, limit_mb: 1}}")
    words = ("cache.folder", "apart from data.root", f"got one {got}", "set cache.folder")
    refused(lambda: open_volumes(config, RECONSTRUCTION), *words)
    assert {path: path.read_bytes() for path in data.iterdir()} == before


PHANTOM = "data: {format: phantom, subjects: 2, spatial_size: [32, 32]}"


@pytest.mark.parametrize(("mask", "cache"), [("data/mask.npy", "data"), ("link.npy", "data"), ("link.npy", ".")])
def test_a_cache_that_holds_the_mask_is_refused(data, load, tmp_path, refused, mask, cache):
    """In the file's own folder, and in that of a link to it."""
    (tmp_path / "link.npy").symlink_to(tmp_path / "data" / "mask.npy")
    config = load(f"{PHANTOM}\nmask: {{kind: file, path: {mask}}}\ncache: {{folder: {cache}}}")
    refused(lambda: open_volumes(config, RECONSTRUCTION), "cache.folder", "apart from mask.path", "that holds it")
    cache = config.cache.model_copy(update={"folder": tmp_path / "apart"})
    apart = config.model_copy(update={"cache": cache})
    assert len(open_volumes(apart, RECONSTRUCTION)) > 0


def test_a_cache_that_holds_the_data_list_is_refused(data, load, tmp_path, refused):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.json").write_text('{"test": ["a.nii", "b.nii"]}')
    text = "data: {format: decathlon, root: data/hospital-1, datalist: lists/list.json}\ncache: {folder: %s}"
    config = load(text % "lists")
    refused(lambda: open_volumes(config, SEGMENTATION), "cache.folder", "apart from data.datalist", "that holds it")
    assert len(open_volumes(load(text % "lists/cache"), SEGMENTATION)) == 2


def test_an_old_cache_at_the_default_place_stays_unused(data, load, private_cache):
    old = private_cache / "site-1" / "0123456789abcdef0123456789abcdef.npy"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert len(open_volumes(load("data: {format: nifti, root: data/hospital-1, slice_axis: 0}"), RECONSTRUCTION)) == 2
    assert (
        old.read_bytes() == b"old" and len(list((private_cache / VOLUMES / "site-1").glob("*.npy"))) == 4
    )  # a plan and slices each
