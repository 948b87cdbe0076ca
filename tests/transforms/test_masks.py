# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling masks."""

import numpy as np
import pytest
from scipy.io import savemat

from flare_mri.config.mask import MaskSettings
from flare_mri.transforms.masks import make_mask

GENERATED = ("equispaced", "random", "radial", "gaussian")


@pytest.mark.parametrize("kind", GENERATED)
@pytest.mark.parametrize("shape", [(64, 64), (96, 96), (128, 100), (75, 81), (320, 280)])
@pytest.mark.parametrize("acceleration", [3, 4, 6.5])
def test_the_wanted_part_is_sampled(kind, shape, acceleration):
    mask = make_mask(MaskSettings(kind=kind, acceleration=acceleration, centre_fraction=0.06, seed=3), shape)
    assert mask.dtype == bool and mask.shape == shape
    assert mask.sum() * acceleration / mask.size == pytest.approx(1, abs=0.11)


@pytest.mark.parametrize("kind", GENERATED)
def test_the_seed_decides(kind):
    masks = [
        make_mask(MaskSettings(kind=kind, acceleration=4, centre_fraction=0.08, seed=seed), (64, 64))
        for seed in (1, 1, 2, 3, 4)
    ]
    assert np.array_equal(masks[0], masks[1])
    assert not all(np.array_equal(masks[0], mask) for mask in masks[2:])


@pytest.mark.parametrize("kind", ["equispaced", "random"])
def test_columns_are_whole_and_the_centre_is_full(kind):
    mask = make_mask(MaskSettings(kind=kind, acceleration=4, centre_fraction=0.08, seed=1), (50, 100))
    assert np.array_equal(mask, np.broadcast_to(mask[0], mask.shape))
    assert mask[0, 46:54].all()  # 8 columns about column 50


def test_equispaced_columns_have_one_spacing():
    columns = np.flatnonzero(
        make_mask(MaskSettings(kind="equispaced", acceleration=4, centre_fraction=0.04, seed=1), (8, 200))[0, :90]
    )
    assert set(np.diff(columns)) <= {4, 5}


@pytest.mark.parametrize("kind", ["radial", "gaussian"])
def test_2d_kinds_fill_a_disc_and_thin_out(kind):
    mask = make_mask(MaskSettings(kind=kind, acceleration=5, centre_fraction=0.1, seed=1), (100, 80))
    rows, columns = np.mgrid[-50:50, -40:40]
    radius = np.hypot(rows / 50, columns / 40)
    assert mask[radius <= 0.1].all()
    density = [mask[(radius > low) & (radius <= low + 0.2)].mean() for low in (0.1, 0.3, 0.5, 0.7)]
    assert density == sorted(density, reverse=True) and density[3] < density[0] / 3


def test_radial_spokes_pass_through_the_centre():
    mask = make_mask(MaskSettings(kind="radial", acceleration=12, centre_fraction=0, seed=1), (65, 65))
    assert np.mean(mask == mask[::-1, ::-1]) > 0.99
    assert mask[32, 32]


@pytest.mark.parametrize("kind", GENERATED)
def test_settings_that_cannot_be_met(refused, kind):
    refused(
        lambda: make_mask(MaskSettings(kind=kind, acceleration=4, centre_fraction=0.7), (64, 64)),
        "mask",
        kind,
        "64x64",
        "lower",
    )


def test_a_centre_that_is_not_sampled(refused):
    settings = [MaskSettings(kind="random", acceleration=6, centre_fraction=0.0, seed=seed) for seed in range(20)]
    unsampled = [each for each in settings if not _makes(each)]
    assert unsampled
    refused(lambda: make_mask(unsampled[0], (64, 64)), "mask.centre_fraction", "zero frequency", "raise it")


def _makes(settings: MaskSettings) -> bool:
    try:
        return bool(make_mask(settings, (64, 64)).any())
    except ValueError:
        return False


@pytest.mark.parametrize(("acceleration", "centre"), [(1, 0.08), (4, 1.0)])
def test_senseless_numbers(refused, acceleration, centre):
    refused(
        lambda: make_mask(MaskSettings(kind="radial", acceleration=acceleration, centre_fraction=centre), (64, 64)),
        "mask",
        "acceleration > 1",
    )


class TestFile:
    @pytest.fixture
    def mask(self):
        mask = np.random.default_rng(0).random((32, 24)) < 0.4
        mask[16, 12] = True
        return mask

    def make(self, path, shape=(32, 24)):
        return make_mask(MaskSettings(kind="file", path=path), shape)

    def test_formats(self, tmp_path, mask):
        np.save(tmp_path / "mask.npy", mask)
        np.savez(tmp_path / "named.npz", mask=mask, images=np.zeros(3))
        np.savez(tmp_path / "only.npz", sampling=mask.astype(float))
        savemat(tmp_path / "mask.mat", {"mask": mask.astype(np.uint8)})
        for name in ("mask.npy", "named.npz", "only.npz", "mask.mat"):
            read = self.make(tmp_path / name)
            assert read.dtype == bool and np.array_equal(read, mask)

    @pytest.mark.parametrize("shape", [(24,), (1, 24)])
    def test_one_row_is_repeated(self, tmp_path, mask, shape):
        np.save(tmp_path / "row.npy", mask[16].reshape(shape))
        assert np.array_equal(self.make(tmp_path / "row.npy"), np.tile(mask[16], (32, 1)))

    def test_a_wrong_size_names_both(self, tmp_path, mask, refused):
        np.save(tmp_path / "mask.npy", mask)
        refused(lambda: self.make(tmp_path / "mask.npy", (128, 64)), "mask.npy", "128x64", "32x24", "data.spatial_size")

    def test_a_mask_with_zero_frequency_in_the_corner(self, tmp_path, mask, refused):
        shifted = np.zeros((32, 24), bool)
        shifted[:4, :4] = True
        np.save(tmp_path / "mask.npy", shifted)
        refused(lambda: self.make(tmp_path / "mask.npy"), "zero frequency in the middle", "fftshift")

    def test_not_binary(self, tmp_path, mask, refused):
        np.save(tmp_path / "mask.npy", mask * 0.5)
        refused(lambda: self.make(tmp_path / "mask.npy"), "only 0 and 1", "float64")

    def test_no_array_of_that_name(self, tmp_path, mask, refused):
        np.savez(tmp_path / "mask.npz", one=mask, two=mask)
        refused(lambda: self.make(tmp_path / "mask.npz"), "an array 'mask'", "one, two")

    @pytest.mark.parametrize("name", ["mask.npy", "mask.npz", "mask.mat", "mask.png"])
    @pytest.mark.parametrize("content", [b"", b"no mask at all, whatever the name says" * 9])
    def test_an_unreadable_file(self, tmp_path, refused, name, content):
        (tmp_path / name).write_bytes(content)
        refused(lambda: self.make(tmp_path / name), "mask.path", name, "save it as .npy")

    def test_no_such_file(self, tmp_path, refused):
        refused(lambda: self.make(tmp_path / "mask.npy"), "mask.path", "mask.npy: no such file", "correct the path")

    def test_no_path(self, refused):
        refused(lambda: MaskSettings.read({"kind": "file"}, "site.yaml"), "path: expected a path, got nothing")
