# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a measured scan is drawn from the scan and the model alone."""

from pathlib import Path
from typing import Any

import measured_scan
import new_scan
import numpy as np
import pytest
import torch
from PIL import Image

from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.io.raw.fastmri_file import read_fastmri_raw
from flare_mri.io.raw.samples import sample_scan, write_fastmri_raw
from flare_mri.io.raw.scan import RawScan
from flare_mri.networks import build_network
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.training import SiteStore


def save_model(folder: Path, spec: dict[str, Any]) -> Path:
    state = build_network(spec, 3).state_dict()
    model = PersonalModel("raw-fedmri-0", "ge-fastmri", "reconstruction", spec, state, (64, 60))
    store = SiteStore(folder, model.job, model.site)
    store.save_model(PERSONAL_FILE, state, model.description())
    return store.path(PERSONAL_FILE)


def test_all_reconstructions_are_drawn_in_the_scan_s_own_size(tmp_path: Path) -> None:
    pytest.importorskip("sigpy")
    rng = np.random.default_rng(0)
    mask = rng.random((64, 60)) < 0.3
    mask[20:44, 18:42] = True
    scan = sample_scan(rng, (1, 64, 60), coils=4)
    path = write_fastmri_raw(tmp_path / "scan.h5", scan.kspace * mask, mask=mask)
    network = {"num_cascades": 1, "regulariser_args": {"channels": 4, "num_pools": 2}}
    model = save_model(tmp_path, {"path": "flare_mri.networks.unrolled.UnrolledNetwork", "args": network})
    images = measured_scan.reconstruct_all(read_fastmri_raw(path), model)
    assert [image.shape for image in images.values()] == [(64, 60)] * 4
    measured_scan.main(["--scan", str(path), "--model", str(model), "--out", str(tmp_path / "figure.png")])
    assert Image.open(tmp_path / "figure.png").size == (960, 400)


def test_a_model_that_takes_images_is_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path, {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}})
    scan = sample_scan(np.random.default_rng(0), (1, 64, 60))
    with pytest.raises(SystemExit, match="expected an UnrolledNetwork, got UNet"):
        measured_scan.reconstruct_all(RawScan(scan.kspace, np.ones((1, 64, 60), bool)), model)


def test_a_scan_is_scored_against_the_magnitudes_it_was_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Completed from a noiseless object that it knows, a target is the true one."""
    pytest.importorskip("sigpy")
    full = sample_scan(np.random.default_rng(0), (2, 64, 60), coils=4)
    lines = np.arange(60) % 2 == 0
    lines[18:42] = True
    path = write_fastmri_raw(tmp_path / "scan.h5", full.kspace * lines, mask=lines)
    true = root_sum_of_squares(torch.from_numpy(full.kspace))[:, 0].numpy()
    completed = new_scan.complete_target(read_fastmri_raw(path), true)
    assert np.square(completed - true).sum() < 0.02 * np.square(true).sum()
    (tmp_path / "full").mkdir()
    write_fastmri_raw(tmp_path / "full" / "one.h5", full.kspace, target=true)
    np.savez(tmp_path / "made_of.npz", images=true, volume=np.array(["one", "one"]))
    network = {"num_cascades": 1, "regulariser_args": {"channels": 4, "num_pools": 2}}
    model = save_model(tmp_path, {"path": "flare_mri.networks.unrolled.UnrolledNetwork", "args": network})
    words = ["--scan", str(path), "--model", str(model), "--magnitudes", str(tmp_path / "made_of.npz")]
    new_scan.main([*words, "--volume", "one", "--check", str(tmp_path / "full")])
    printed = capsys.readouterr().out
    assert printed.count("completed target: PSNR") == printed.count("true target: PSNR") == 4
