# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The phantom: physics, anatomy and the differences between sites."""

import numpy as np
import pytest

from flare_mri.datasets.phantom import (
    PRESETS,
    SLICES,
    TISSUES,
    PhantomSite,
    Sequence,
    Tissue,
    acquire,
    make_phantom,
    phantom_site,
    signal,
)
from flare_mri.datasets.phantom_head import Label
from flare_mri.datasets.phantom_kspace import DEFAULT_COILS
from flare_mri.io.raw.build import make_target


def test_signal_equations():
    tissue = Tissue(0.8, 800, 100)
    spin_echo = signal(Sequence("spin_echo", 800, 100), tissue, 1.5)
    assert spin_echo == pytest.approx(0.8 * (1 - 1 / np.e) / np.e)
    nulled = signal(Sequence("inversion_recovery", 1e9, 0, ti=800 * np.log(2)), tissue, 1.5)
    assert nulled == pytest.approx(0, abs=1e-12)
    relaxed = signal(Sequence("inversion_recovery", 1e9, 0, ti=1e9), tissue, 1.5)
    assert relaxed == pytest.approx(0.8)
    right_angle = signal(Sequence("spoiled_gre", 800, 0, flip=90), tissue, 1.5)
    assert right_angle == pytest.approx(signal(Sequence("spin_echo", 800, 0), tissue, 1.5))
    ernst = np.rad2deg(np.arccos(np.exp(-20 / 800)))
    angles = [signal(Sequence("spoiled_gre", 20, 5, flip=flip), tissue, 1.5) for flip in (ernst - 5, ernst, ernst + 5)]
    assert angles[1] == max(angles)


def test_t1_grows_with_the_field_except_in_fluid():
    sequence = Sequence("spin_echo", 500, 10)
    grey, fluid = TISSUES[Label.GREY], TISSUES[Label.CSF]
    longer = Tissue(grey.proton_density, grey.t1 * 2 ** (1 / 3), grey.t2)
    assert signal(sequence, grey, 3.0) == pytest.approx(signal(sequence, longer, 1.5))
    assert signal(sequence, fluid, 3.0) == signal(sequence, fluid, 1.5)


def test_an_unknown_sequence():
    with pytest.raises(ValueError, match="unknown sequence 'epi'"):
        signal(Sequence("epi", 1, 1), TISSUES[Label.GREY], 1.5)


def test_air_holds_rayleigh_noise_of_the_stated_size():
    site = PhantomSite(Sequence("spin_echo", 500, 10), 1.5, 0.0, 50, PRESETS[0].mask)
    air = np.zeros((2, 200, 200), np.uint8)
    image = acquire(np.random.default_rng(0), air, site)
    assert image.mean() == pytest.approx(np.sqrt(np.pi / 2) / 50, rel=0.02)
    assert image.std() == pytest.approx(np.sqrt(2 - np.pi / 2) / 50, rel=0.03)


def test_a_flat_coil_and_no_noise_show_the_signal_equation():
    site = PhantomSite(Sequence("spin_echo", 500, 10), 1.5, 0.0, 1e9, PRESETS[0].mask)
    labels = np.full((1, 64, 64), Label.WHITE, np.uint8)
    table = [signal(site.sequence, TISSUES[label], 1.5) for label in Label]
    image = acquire(np.random.default_rng(0), labels, site)
    assert image.mean() == pytest.approx(table[Label.WHITE] / max(table), rel=1e-3)
    assert 0.005 < image.std() / image.mean() < 0.03  # tissue texture


def test_shading_is_bounded():
    site = PhantomSite(Sequence("spin_echo", 500, 10), 1.5, 0.5, 1e9, PRESETS[0].mask)
    labels = np.full((1, 64, 64), Label.SCALP, np.uint8)
    image = acquire(np.random.default_rng(0), labels, site)
    assert image.max() / image.min() > 1.3
    assert image.min() > 0.45 * signal(site.sequence, TISSUES[Label.SCALP], 1.5)


@pytest.mark.parametrize("spatial_size", [(96, 96), (64, 64), (48, 80)])
def test_shapes_and_reproducibility(spatial_size):
    one, two = make_phantom("site-1", 0, spatial_size), make_phantom("site-1", 0, spatial_size)
    assert one.kspace.shape == (SLICES, DEFAULT_COILS, *spatial_size) and one.labels.shape == (SLICES, *spatial_size)
    assert (one.kspace.dtype, one.labels.dtype) == (np.complex64, np.uint8)
    assert np.array_equal(one.kspace, two.kspace) and np.array_equal(one.labels, two.labels)


def test_subjects_and_sites_differ_in_anatomy():
    labels = [make_phantom(site, subject, (64, 64)).labels for site, subject in [("a-1", 0), ("a-1", 1), ("b-1", 0)]]
    for one, two in [(0, 1), (0, 2), (1, 2)]:
        assert np.mean(labels[one] != labels[two]) > 0.05


def test_heads_are_complete():
    volumes = [make_phantom(f"site-{site}", subject, (64, 64)) for site in (1, 2) for subject in range(4)]
    for labels in (volume.labels for volume in volumes):
        assert set(np.unique(labels)) >= set(Label) - {Label.LESION}
        part = [np.mean(labels == label) for label in Label]
        assert 0.4 < part[Label.AIR] < 0.7
        assert 0.3 < part[Label.GREY] / (part[Label.GREY] + part[Label.WHITE]) < 0.6
    assert 0 < np.mean([Label.LESION in volume.labels for volume in volumes]) <= 1


def test_contrast_is_that_of_the_protocol():
    order = {
        "site-1": [Label.SCALP, Label.WHITE, Label.GREY, Label.CSF],  # T1
        "site-2": [Label.CSF, Label.GREY, Label.WHITE],  # T2
        "site-3": [Label.SCALP, Label.WHITE, Label.GREY, Label.CSF],  # T1, gradient echo
        "site-4": [Label.GREY, Label.WHITE, Label.CSF],  # FLAIR
    }
    for site, labels in order.items():
        volume = make_phantom(site, 1)
        image = make_target(volume.kspace)
        values = [image[volume.labels == label].mean() for label in labels]
        assert values == sorted(values, reverse=True), site


def test_names_pick_protocols():
    sites = [phantom_site(f"site-{number}") for number in range(1, 8)]
    assert len({site.sequence for site in sites}) == len(PRESETS) >= 6
    assert sites[6].sequence == sites[0].sequence
    assert sites[6].mask.seed != sites[0].mask.seed
    assert phantom_site("Kantonsspital") == phantom_site("Kantonsspital")
    assert phantom_site("site-0").sequence == PRESETS[-1].sequence
