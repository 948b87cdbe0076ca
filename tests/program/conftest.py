# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flare_mri.io.formats import FORMATS


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for variable in ("FLARE_MRI_SITE_CONFIG", "FLARE_MRI_STORE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the sample of a format; returns its folder."""

    def write(name: str) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        maker = FORMATS[name].write_sample
        assert maker is not None
        maker(folder, np.random.default_rng(0))
        return folder

    return write
