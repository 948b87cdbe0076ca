# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Small results and site stores as runs leave them, for reconstruction and for segmentation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PSNR = {
    "FedMRI": {"site-1": 28.0, "site-2": 25.0, "site-10": 31.0},
    "FedAvg": {"site-1": 27.0, "site-2": 25.5, "site-10": 29.5},
}
ZERO_FILLED = {"site-1": 24.0, "site-2": 20.0, "site-10": 26.0}


def _scores(psnr: float) -> dict[str, float]:
    return {"psnr": psnr, "ssim": psnr / 40, "nmse": 0.01 * 10 ** ((28 - psnr) / 10)}


def _method(name: str, sites: dict[str, Any], rounds: list[dict]) -> dict[str, Any]:
    network = {"path": "networks.UNet", "args": {"channels": 8}}
    settings = {"rounds": 3, "network": network, "resume": None, "lists": [1, 2], "on": True}
    settings["training"] = {"loss": "l1"}
    return {
        "job": name.lower(), "created": "2026-03-02T10:11:12+00:00", "seed": 7, "settings": settings,
        "seconds": 61.0, "sites": sites, "rounds": rounds,
    }  # fmt: skip


def _reconstruction() -> dict[str, Any]:
    methods = {}
    for name, by_site in PSNR.items():
        sites = {
            site: {
                "data": {"train": 10, "test": 4}, "test": _scores(value), "validation": _scores(value),
                "best": {"round": 1, "validation": _scores(value), "test": _scores(value + 0.25)},
                "zero_filled": _scores(ZERO_FILLED[site]),
            }
            for site, value in by_site.items()
        }  # fmt: skip
        rounds = [
            {
                "round": r, "seconds": 2.0,
                "sites": {
                    site: {"train_loss": 1 / (r + 1), "seconds": 1.0, "bytes_sent": 2_000_000, "slices": 10,
                           "bytes_received": 4_000_000, "validation": _scores(value - 2 + r)}
                    for site, value in by_site.items()
                },
            }
            for r in range(3)
        ]  # fmt: skip
        methods[name] = _method(name, sites, rounds)
    return {"format_version": 1, "versions": {"torch": "2.9.0", "python": "3.11.2"}, "methods": methods}


_RECONSTRUCTION = _reconstruction()


@pytest.fixture
def results() -> dict[str, Any]:
    """Two methods at three sites; the first is best by mean and at two sites."""
    return copy.deepcopy(_RECONSTRUCTION)


@pytest.fixture
def segmentation() -> dict[str, Any]:
    """One outside site, the global model and routing; HD95 of the global model is not defined."""
    return _segmentation()


def _segmentation() -> dict[str, Any]:
    routing = {"experts": ["site-1", "global"], "layers": ["down.0", "up.0"], "weights": [[0.25, 0.5], [0.75, 1.0]]}
    sites = {
        "Global": {"outside": {"test": {"dice": 0.81, "hd95": None}}},
        "Routing": {
            "outside": {
                "test": {"dice": 0.888, "hd95": 2.5}, "routing": routing, "note": "nothing collapsed",
                "entropy": {"before": 0.5, "after": 0.125},
            }
        },
    }  # fmt: skip
    methods = {name: _method(name, entries, []) for name, entries in sites.items()}
    return {"format_version": 1, "versions": {}, "methods": methods}


def save_examples(path: Path, labels: bool = False, **replaced: Any) -> Path:
    """Writes two slices of 24x20 and 8 features; `replaced` arrays (None: left out) make it special or bad."""
    rng = np.random.default_rng(sum(map(ord, str(path.parent.name))))
    rows, columns = np.mgrid[:24, :20]
    disc = ((rows - 12) ** 2 + (columns - 10) ** 2 < 36).astype(np.float32)
    target = np.stack([disc, np.roll(disc, 2, 0)]) if labels else 80 * np.stack([disc, disc]) + rng.random((2, 24, 20))
    output = np.roll(target, 1, 1) if labels else target + 4
    arrays: dict[str, Any] = {
        "input": (target + 8).astype("f4"), "output": output.astype("f4"), "target": target.astype("f4"),
        "volume": np.array([0, 3]), "slice": np.array([5, 9]), "features": rng.normal(size=(8, 6)).astype("f4"),
    }  # fmt: skip
    arrays |= replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture(scope="session")
def examples():
    """The function `save_examples`."""
    return save_examples


@pytest.fixture(scope="session")
def shared_results() -> dict[str, Any]:
    """As `results`, to be read only."""
    return copy.deepcopy(_RECONSTRUCTION)


@pytest.fixture(scope="session")
def shared_segmentation() -> dict[str, Any]:
    """As `segmentation`, to be read only."""
    return _segmentation()


@pytest.fixture(scope="session")
def shared_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stores`, to be read only."""
    return _save_stores(tmp_path_factory.mktemp("stores") / "run")


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with a store for every site of every method, as the simulator lays them out."""
    return _save_stores(tmp_path / "run")


def _save_stores(root: Path) -> Path:
    for method in _RECONSTRUCTION["methods"].values():
        for site in method["sites"]:
            save_examples(root / site / "site_store" / method["job"] / site / "examples.npz")
    return root
