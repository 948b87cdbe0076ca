# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The labelled phantom: organ, label and the differences between sites."""

import numpy as np
import pytest

from flare_mri.datasets.phantom_pelvis import (
    PELVIS_PRESETS,
    PELVIS_SLICES,
    PELVIS_TISSUES,
    Organ,
    make_pelvis,
    pelvis_geometry,
    pelvis_organs,
    pelvis_site,
)

SITES = ["site-1", "site-2", "site-3", "site-4", "site-5", "outside-1"]


@pytest.mark.parametrize("spatial_size", [(64, 64), (48, 80)])
def test_shapes_and_reproducibility(spatial_size):
    one, two = make_pelvis("site-1", 0, spatial_size), make_pelvis("site-1", 0, spatial_size)
    assert one.slices.shape == one.labels.shape == pelvis_geometry(spatial_size)[0] == (PELVIS_SLICES, *spatial_size)
    assert (one.slices.dtype, one.labels.dtype) == (np.float32, np.uint8)
    assert np.array_equal(one.slices, two.slices) and np.array_equal(one.labels, two.labels)
    assert one.slices.min() >= 0 and set(np.unique(one.labels)) == {0, 1}


def test_the_prostate_of_every_subject_is_whole_and_of_a_real_size():
    for site in SITES:
        for subject in range(2):
            labels = make_pelvis(site, subject, (48, 48)).labels
            holding = np.flatnonzero(labels.any((1, 2)))
            assert 4 <= len(holding) < PELVIS_SLICES and np.array_equal(np.diff(holding), np.ones(len(holding) - 1))
            assert not labels[:, :6].any() and not labels[:, -6:].any()
            millilitres = labels.sum() * np.prod(pelvis_geometry((48, 48))[1]) / 1000
            assert 12 < millilitres < 90


def test_the_label_is_the_prostate_of_the_tissue_map():
    rng = np.random.default_rng([0])
    organs = pelvis_organs(rng, (PELVIS_SLICES, 128, 128))
    assert set(np.unique(organs)) == set(Organ)
    assert list(PELVIS_TISSUES) == list(Organ) == list(range(len(Organ)))


def test_names_pick_protocols():
    protocols = [pelvis_site(name).sequence for name in SITES]
    assert len(set(protocols)) == len(PELVIS_PRESETS) == 6
    assert pelvis_site("site-7").sequence == protocols[0]
    assert pelvis_site("outside-2").sequence == protocols[4]
    assert pelvis_site("Kantonsspital") == pelvis_site("Kantonsspital")


def test_sites_differ_in_contrast():
    contrasts = []
    for site in SITES:
        volume = make_pelvis(site, 0, (64, 64))
        z_scored = (volume.slices - volume.slices.mean()) / volume.slices.std()
        contrasts.append(z_scored[volume.labels == 1].mean())
    ordered = np.sort(contrasts)
    assert ordered[0] < -0.3 and ordered[-1] > 1.5  # darker than its surroundings here, much brighter there
    labels = [make_pelvis(site, 0, (64, 64)).labels for site in ("site-1", "site-2")]
    assert np.mean(labels[0] != labels[1]) > 0.01
