# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Small files in the real formats, and the real data where they are present."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from flare_mri.config.data import DataSettings
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.errors import InputError
from flare_mri.io.dicom import write_dicom_slice
from flare_mri.io.formats import read_data_settings
from flare_mri.io.load import load_scan_file
from flare_mri.io.scan import Scan


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch) -> Path:
    """Apart from `tmp_path`, which is the data root of many tests."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "flare-mri"


@pytest.fixture
def real_data() -> Path:
    folder = Path(os.environ.get("FLARE_MRI_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "brain").is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture
def volume() -> np.ndarray:
    """Magnitudes [6, 20, 24] that are the same in no two slices and have no symmetry."""
    return np.random.default_rng(0).random((6, 20, 24), np.float32) + np.arange(1, 7, dtype=np.float32)[:, None, None]


def data_settings(name: str, root: Path | None = None, **keys: object) -> DataSettings:
    """The section `data` of a site.yaml with these keys."""
    given = {"format": name, **({} if root is None else {"root": str(root)}), **keys}
    return read_data_settings(given, "site 'site-1'", root or Path())


def read_image(scan: Scan) -> np.ndarray:
    """The voxels of a scan [I, J, K]."""
    return load_scan_file(scan.image).numpy()


def read_label(scan: Scan) -> np.ndarray:
    """The voxels of its label."""
    assert scan.label is not None
    return load_scan_file(scan.label).numpy()


@pytest.fixture
def load(tmp_path) -> Callable[[str], SiteConfig]:
    """Writes a site.yaml into tmp_path and loads it for site-1."""

    def load(text: str) -> SiteConfig:
        (tmp_path / "site.yaml").write_text(text)
        return load_site_config(tmp_path / "site.yaml", "site-1")

    return load


@pytest.fixture
def refused() -> Callable[..., None]:
    """Calls something and demands an InputError of one line that holds all the given words."""

    def refused(call: Callable[[], object], *words: str) -> None:
        with pytest.raises(InputError) as caught:
            call()
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message, f"{word!r} not in: {message}"

    return refused


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    def write(path: Path, array: np.ndarray, slope: float | None = None, affine: Any = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
        if slope is not None:
            image.header.set_slope_inter(slope, 0)
        nibabel.save(image, path)
        return path

    return write


@pytest.fixture
def write_fastmri() -> Callable[..., Path]:
    def write(path: Path, **arrays: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
            file["ismrmrd_header"] = "<ismrmrdHeader/>"
        return path

    return write


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    def write(path: Path, pixels: np.ndarray, **tags: object) -> Path:
        """Writes uint16 pixels [H, W]; a tag of None is left out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom_slice(path, pixels, **tags)
        return path

    return write
