# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a finished run leaves at a site is its owner's alone, whatever the umask of the process."""

import os
import stat
from pathlib import Path

from conftest import TINY, write_site
from federation import Federation
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings


def too_open(folder: Path) -> dict[str, str]:
    """Files and folders that others than the owner may read, write or list."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {str(path): f"{mode:o}" for path, mode in modes.items() if mode & 0o077}


def test_stores_caches_and_logs_are_the_owners_alone(tmp_path: Path) -> None:
    """Of results of `apply`, bundles and pages, the tests of each look."""
    site, cache = tmp_path / "site-1", tmp_path / "cache"
    write_site(site, cache)
    learn = TrainingSettings(lr=1e-3, dp_noise_multiplier=1.0)
    recipe = FedMRIRecipe(network=TINY, min_clients=1, num_rounds=2, training=learn, include_code=False)
    federation = Federation(recipe, ["site-1"], tmp_path)
    before = os.umask(0)
    try:
        federation.run()
        federation.ask("site-1", "train", {}, {})  # fails, which is told in the site's log
    finally:
        os.umask(before)
    assert not federation.panics
    volumes, log = cache / "flare-mri-volumes", site / "flare_mri.log"
    left = [*(site / "site_store").iterdir(), volumes, log]
    kinds = {path.suffix for folder in left for path in folder.rglob("*") if path.is_file()}
    assert {".pt", ".safetensors", ".npz", ".json"} <= kinds and len(list(volumes.rglob("*"))) > 3 and log.is_file()
    assert {name: mode for folder in left for name, mode in too_open(folder).items()} == {}
    log.chmod(0o644)
    assert too_open(log) == {str(log): "644"}, "the walk finds what is open"
