# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""site.yaml: what it means, and what is said of a wrong one."""

import re
from pathlib import Path

import pytest
import yaml

from data_files import data_settings
from flare_mri.config.mask import MaskSettings
from flare_mri.config.site import (
    CacheSettings,
    SiteConfig,
    SiteSettings,
    SplitSettings,
    load_site_config,
    phantom_site_config,
)
from flare_mri.io.formats import FORMATS


def test_every_key(load, tmp_path, monkeypatch):
    monkeypatch.setenv("KNEES", "knees")
    (tmp_path / "knees" / "3t").mkdir(parents=True)
    config = load(
        """
        site: site-1
        data: {format: nifti, root: "$KNEES/${FIELD:-3t}", include: ["*t2*"], slices: {start: 2, stop: 9, step: 3},
               slice_axis: 0, spatial_size: [64, 96]}
        split: {train: 0.5, validation: 0.25, test: 0.25, by: volume}
        mask: {kind: gaussian, acceleration: 6, centre_fraction: 0.1, seed: 5}
        batch_size: 2
        device: "cuda:1"
        workers: 3
        compute_threads: 2
        cache: {limit_mb: 5, folder: here}
        store: there/store
        """
    )
    assert config == SiteConfig(
        site="site-1",
        data=data_settings(
            "nifti",
            tmp_path / "knees" / "3t",
            include=["*t2*"],
            slices={"start": 2, "stop": 9, "step": 3},
            slice_axis=0,
            spatial_size=[64, 96],
        ),
        split=SplitSettings(train=0.5, validation=0.25, test=0.25, by="volume"),
        mask=MaskSettings(kind="gaussian", acceleration=6, centre_fraction=0.1, seed=5),
        batch_size=2,
        device="cuda:1",
        workers=3,
        compute_threads=2,
        cache=CacheSettings(folder=tmp_path / "here", limit_mb=5),
        store=tmp_path / "there" / "store",
        file=tmp_path / "site.yaml",
    )


def test_defaults(load, tmp_path, private_cache):
    config = load("data: {format: fastmri, root: .}\nstore: null")
    expected = SiteConfig(
        site="site-1",
        data=data_settings("fastmri", tmp_path),
        split=SplitSettings(),
        mask=MaskSettings(),
        file=tmp_path / "site.yaml",
    )
    assert config == expected
    assert config.cache.folder == private_cache


def test_the_phantom_needs_no_file(load):
    config = phantom_site_config("site-1")
    assert load("data: {format: phantom}").model_copy(update={"file": None}) == config
    assert (config.data.format, config.split.by) == ("phantom", "volume")


def test_brats_takes_the_slices_of_the_paper(load):
    config = load("data: {format: brats, root: ., include: [t2]}")
    assert list(config.data.slices.indices(155)) == list(range(40, 120))


def test_the_documented_example_states_the_defaults():
    page = Path(__file__).parents[2] / "docs" / "reference" / "site-yaml.md"
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)[1])
    assert SplitSettings(**example["split"]) == SplitSettings()
    assert MaskSettings(**example["mask"]) == MaskSettings()
    assert example["cache"]["limit_mb"] == CacheSettings().limit_mb
    for name, key in (("nifti", "slice_axis"), ("phantom", "subjects"), ("nifti", "orientation"), ("nifti", "spacing")):
        assert example["data"][key] == FORMATS[name].options.model_fields[key].default
    keys = {key for entry in FORMATS.values() for key in entry.options.model_fields}
    assert set(example["data"]) == keys
    for key in ("batch_size", "device", "workers", "compute_threads", "store"):
        assert example[key] == SiteConfig.model_fields[key].default
    assert set(example) == set(SiteSettings.model_fields) | {"pooled_sites"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {format: fastmri, root: .}\nbatchsize: 4", ["batchsize", "did you mean 'batch_size'?"]),
        ("data: {format: fastmri, rot: ., root: .}", ["data.rot", "did you mean 'root'?"]),
        ("data: {format: fastmri, rot: .}", ["data.root", "got nothing", "is 'rot' meant"]),
        ("data: {format: fastmri}", ["data.root", "got nothing", "add this key"]),
        ("batch_size: 4", ["data.format", "phantom, fastmri", "got nothing"]),
        ("data: {format: analyze}", ["data.format", "one of phantom, fastmri", "'analyze'"]),
        ("data: {format: fastmri, root: knees}", ["data.root", "an existing folder", "knees", "mount"]),
        ("data: {format: fastmri, root: $NO_SUCH_VARIABLE/x}", ["data.root", "NO_SUCH_VARIABLE", "set it"]),
        ("data: {format: brats, root: .}", ["data.include", "[flair, t2]"]),
        ("data: {format: fastmri, root: ., include: t2}", ["data.include", "a list of text", "'t2'"]),
        ("data: {format: fastmri, root: ., slice_axis: 1}", ["data.slice_axis", "unknown key"]),
        ("data: {format: nifti, root: ., slice_axis: 3}", ["data.slice_axis", "0, 1 or 2", "got 3"]),
        ("data: {format: nifti, root: ., slices: {start: 5, stop: 5}}", ["data.slices.stop", "above start (5)"]),
        ("data: {format: nifti, root: ., slices: {step: 0}}", ["data.slices.step", "a whole number >= 1", "got 0"]),
        ("data: {format: nifti, root: ., spatial_size: [128]}", ["data.spatial_size", "[height, width]", "[128]"]),
        ("data: {format: nifti, root: ., spatial_size: 128}", ["data.spatial_size", "two whole numbers >= 16"]),
        ("data: {format: phantom}\nsite: site-2", ["FLARE site name 'site-1'", "'site-2'"]),
        ("data: {format: phantom}\nbatch_size: 0", ["batch_size", "a whole number >= 1"]),
        ("data: {format: phantom}\nbatch_size: true", ["batch_size", "True"]),
        ("data: {format: phantom}\ncompute_threads: 0", ["compute_threads", "a whole number >= 1", "got 0"]),
        ("data: {format: phantom}\nworkers: two", ["workers", "a whole number >= 0", "'two'"]),
        ("data: {format: phantom}\ndevice: gpu", ["device", "cuda:N", "'gpu'"]),
        ("data: {format: phantom}\nsplit: {train: 0.9}", ["split.train", "sum to 1", "0.9, 0.1, 0.2"]),
        ("data: {format: phantom}\nsplit: {train: 1, validation: 0, test: 0}", ["split.train", "above 0"]),
        ("data: {format: phantom}\nsplit: {by: patient}", ["split.by", "'slice' or 'volume'"]),
        ("data: {format: phantom}\nmask: {kind: spiral}", ["mask.kind", "radial", "'spiral'"]),
        ("data: {format: phantom}\nmask: {acceleration: fast}", ["mask.acceleration", "a number >= 1"]),
        ("data: {format: phantom}\nmask: {acceleration: 0.5}", ["mask.acceleration", "a number >= 1"]),
        ("data: {format: phantom}\nmask: {centre_fraction: -0.1}", ["mask.centre_fraction", "a number >= 0 and <= 1"]),
        ("data: {format: phantom}\nmask: {kind: file}", ["mask.path", "got nothing", "add this key"]),
        ("data: {format: phantom}\nmask: {kind: file}", ["mask.path", "add this key"]),
        ("data: {format: phantom}\nmask: {kind: file, path: m.npy, seed: 1}", ["mask.seed", "unknown key"]),
        ("data: {format: phantom}\ncache: {limit_mb: 0}", ["cache.limit_mb", ">= 1"]),
        ("data: [phantom]", ["data", "a mapping", "['phantom']"]),
        ("- data", ["the file", "a mapping"]),
        ("", ["the file", "None"]),
        ("data: {format: phantom}\nfile: x.yaml", ["file: expected one of the keys", "an unknown key; remove it"]),
        ("data: {format: phantom}\nmembers: []", ["members: expected one of the keys", "an unknown key; remove it"]),
        ("data: {format: phantom", ["line 1: expected YAML", "correct that line"]),
    ],
)
def test_a_wrong_file_is_named_with_key_and_fix(load, refused, tmp_path, text, words):
    refused(lambda: load(text), "site 'site-1'", str(tmp_path / "site.yaml"), *words)


def test_a_missing_file(refused):
    refused(lambda: load_site_config(Path("nowhere/site.yaml"), "site-3"), "site 'site-3'", "nowhere/site.yaml", "give")


def test_a_pool_names_no_pools(load, refused):
    refused(lambda: load("pooled_sites: [site.yaml]"), "pooled_sites", "name its members instead")


def test_references_are_refused(load, refused):
    refused(lambda: load("data: &a {format: phantom}\nmask: *a"), "line 2", "write the value itself")
