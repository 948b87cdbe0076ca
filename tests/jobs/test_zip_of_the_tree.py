# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A zip of the tree, unpacked elsewhere and without git, is complete: its job folders run once they are staged."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from simulation import NVFLARE, REPO, export_module, prepare, run

SITES = ["site-1", "site-2"]
SMALL = ["--num_rounds", "1", "--channels", "4", "--num_pools", "2", "--n_clients", "2"]


def unpack_tree(folder: Path) -> Path:
    """The tracked files as they stand here, by way of a zip file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    with zipfile.ZipFile(folder / "tree.zip", "w") as archive:
        for name in filter(None, listed.stdout.split("\0")):
            if (REPO / name).exists():  # not one that the work tree has just lost
                archive.write(REPO / name, name)
    with zipfile.ZipFile(folder / "tree.zip") as archive:
        archive.extractall(folder / "tree")
    return folder / "tree"


@pytest.mark.slow
def test_a_zip_of_the_tree_runs_in_the_simulator(tmp_path: Path, cache: Path) -> None:
    tree = unpack_tree(tmp_path)
    own = {"PYTHONPATH": str(tree / "custom")}
    run(sys.executable, "jobs/export.py", "--stage", cwd=tree, **own)
    job = tree / "jobs" / "fedmri"
    package = {p.relative_to(tree / "custom") for p in (tree / "custom" / "flare_mri").rglob("*") if p.is_file()}
    staged = {p.relative_to(job / "app" / "custom") for p in (job / "app" / "custom").rglob("*") if p.is_file()}
    without = {p for p in package if "__pycache__" not in p.parts}
    assert staged == without and len(staged) > 100
    for path, text in export_module().export_texts("fedmri", SMALL).items():
        (job / path).write_text(text)
    workspace = prepare(tmp_path / "w", SITES, cache)
    run(NVFLARE, "simulator", job, "-w", workspace, "-c", ",".join(SITES), "-t", "2", cwd=tmp_path, PYTHONPATH="")
    results = json.loads((workspace / "server" / "simulate_job" / "results.json").read_text())
    assert set(results["methods"]["FedMRI"]["sites"]) == set(SITES)
