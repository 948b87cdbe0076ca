# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Without the extra `report` a hospital takes part and applies models all the same; only pictures are missing."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.networks import build_network
from flare_mri.training import SiteStore

BLOCKED = "import sys; sys.modules.update(dict.fromkeys(('jinja2', 'matplotlib', 'sklearn')));"
SPEC = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_all_that_takes_part_imports_without_it() -> None:
    code = "from flare_mri.flare.components import *; import flare_mri.flare.recipes, flare_mri.deploy.check"
    code += ", flare_mri.segment"
    done = run(code + ", flare_mri.deploy.policies, flare_mri.report")
    assert done.returncode == 0, done.stderr


def test_a_report_says_what_to_install(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    entry = {"job": "a", "created": "2026-11-25", "seed": 0, "seconds": 1.0, "settings": {}, "rounds": []}
    site = {"site-1": {"test": {"psnr": 30.0, "ssim": 0.9, "nmse": 0.1}}}
    run_of = {"format_version": 1, "versions": {}, "methods": {"FedAvg": {**entry, "sites": site}}}
    results.write_text(json.dumps(run_of))
    done = run("from flare_mri.report.command import main; sys.exit(main(sys.argv[1:]))", results)
    assert done.returncode == 2 and "pip install 'flare-mri[report]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_is_applied_without_an_overview(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    voxels = np.random.default_rng(0).random((32, 32, 4), np.float32) + 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "site.yaml").write_text("data: {format: nifti, root: scans}\n")
    model = PersonalModel("fedmri", "site-1", "reconstruction", SPEC, build_network(SPEC, 3).state_dict(), (32, 32))
    store = SiteStore(tmp_path / "store", model.job, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    words = [store.path(PERSONAL_FILE), "--site", tmp_path / "site.yaml", "--out", tmp_path / "out"]
    done = run("from flare_mri.reconstruct import main; sys.exit(main(sys.argv[1:]))", *words)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_reconstruction.nii.gz"}
    assert "no overview.png: expected the packages jinja2, matplotlib and sklearn" in done.stdout
