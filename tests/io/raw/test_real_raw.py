# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Raw scans of the real data, where they are present."""

import numpy as np
import pytest

from flare_mri.io.raw.build import make_target
from flare_mri.io.raw.read import read_raw


@pytest.fixture
def raw(real_data):
    if not (real_data / "raw").is_dir():
        pytest.skip(f"no raw data in {real_data}")
    return real_data / "raw"


@pytest.mark.parametrize(
    ("name", "shape", "whitened"),
    [
        ("ge-fastmri/PGBM-002_flair.h5", (12, 8, 128, 128), False),
        ("siemens-ismrmrd/PGBM-003_t1post.h5", (14, 4, 128, 128), True),
        ("t1-ismrmrd/chris_t1.h5", (18, 6, 128, 128), True),
    ],
)
def test_full_scans(raw, name, shape, whitened):
    read = read_raw(raw / name)
    assert read.kspace.shape == shape and read.fully_sampled and read.whitened == whitened
    assert not any("dead" in note or "shifted" in note for note in read.notes)
    np.testing.assert_allclose(read.target, make_target(read.kspace), rtol=1e-3, atol=1e-3 * read.target.max())
    rows, columns = (read.target.sum(0) ** 2).sum(1), (read.target.sum(0) ** 2).sum(0)
    for energy in (rows, columns):  # the head is in the middle
        assert abs((energy * np.arange(128)).sum() / energy.sum() - 64) < 16
    if whitened:
        assert read.geometry is not None and np.linalg.norm(read.geometry[:3, 0]) == pytest.approx(1.875)
        corner = np.concatenate([read.kspace[:, :, :8, :8].ravel(), read.kspace[:, :, -8:, -8:].ravel()])
        assert np.mean(np.abs(corner) ** 2) == pytest.approx(1, abs=0.2)  # noise, and little else


@pytest.mark.parametrize(
    ("name", "centre", "acceleration"),
    [
        ("ge-fastmri/PGBM-002_t1post_R4.h5", (128, 10), 128 / 39),
        ("siemens-ismrmrd/PGBM-003_t2_R3.h5", (128, 17), 128 / 54),
        ("measured-brain-8ch.h5", (20, 20), 1 / 0.127),
    ],
)
def test_new_scans(raw, name, centre, acceleration):
    read = read_raw(raw / "new" / name)
    assert not read.fully_sampled and read.target is None and read.centre == centre
    assert read.acceleration == pytest.approx(acceleration, rel=0.01)
    assert (read.kspace == read.kspace * read.mask[:, None]).all()
