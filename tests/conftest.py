# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

TINY = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: 2}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 1
"""


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module", autouse=True)
def _frozen_libraries() -> None:
    """FLARE collects garbage after every answer: objects of libraries, which stay, need not be searched each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Environment of a test: what job.py says through it to the simulator's processes must not reach the next."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def sites(tmp_path: Path, cache: Path) -> list[str]:
    """Three small phantom sites with their site.yaml in `tmp_path`; returns their names."""
    names = ["site-1", "site-2", "site-3"]
    for name in names:
        write_site(tmp_path / name, cache)
    return names


def write_site(folder: Path, cache: Path) -> None:
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "site.yaml").write_text(SITE_YAML.format(cache=cache))
