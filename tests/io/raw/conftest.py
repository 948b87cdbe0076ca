# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from data_files import *  # noqa: F403
from flare_mri.datasets.phantom_kspace import PhantomKspace
from flare_mri.io.raw.samples import sample_scan


@pytest.fixture
def scan() -> PhantomKspace:
    """Three slices of three coils, 24 x 20."""
    return sample_scan(np.random.default_rng(0))
