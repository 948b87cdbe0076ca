# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The device that a site asks for."""

from pathlib import Path

import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.training.build import resolve_device


def test_a_gpu_that_is_not_there_names_the_file() -> None:
    with pytest.raises(InputError, match=r"site 'site-1', /a/site\.yaml: device: expected a GPU .* got 'cuda:99'; use"):
        resolve_device("cuda:99", "site-1", Path("/a/site.yaml"))
    with pytest.raises(InputError, match="site 'site-1': device: expected auto, cpu or cuda"):
        resolve_device("gpu", "site-1")
    assert resolve_device("cpu", "site-1") == torch.device("cpu")
