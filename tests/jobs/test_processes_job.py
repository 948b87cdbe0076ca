# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A job in FLARE's simulator with a site of two processes beside a site of one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from simulation import prepare, run

SITES = ["site-1", "site-2"]
SMALL = ["--num_rounds", "2", "--num_cascades", "2", "--channels", "4", "--num_pools", "2"]


def run_with(root: Path, cache: Path, processes: int) -> tuple[dict[str, Any], str]:
    """Scores of the sites, and the first one's log."""
    prepare(root / "fedmri", SITES, cache)
    settings = root / "fedmri" / "local" / "site-1" / "site.yaml"
    text = settings.read_text().replace("batch_size: 1", f"batch_size: 2\nprocesses: {processes}\ndevice: cpu")
    settings.write_text(text)
    temporary = root / "temporary"
    temporary.mkdir()
    command = [sys.executable, "jobs/fedmri/job.py", *SMALL, "--n_clients", "2", "--workspace", root]
    run(*command, TMPDIR=str(temporary))
    assert not list(temporary.glob("flare-mri-*")), "what the processes wrote is removed with them"
    results = json.loads((root / "fedmri" / "server" / "simulate_job" / "results.json").read_text())
    log = "".join(path.read_text() for path in (root / "fedmri" / "site-1").rglob("log*.txt"))
    return results["methods"]["FedMRI"]["sites"], log


@pytest.mark.slow
def test_two_processes_in_the_simulator_score_as_one(tmp_path: Path, cache: Path) -> None:
    """The job's default network, loss and Adam, whose steps of weights without gradient hang on the last bits."""
    (one, quiet), (two, log) = (run_with(tmp_path / str(number), cache, number) for number in (1, 2))
    assert "trains in 2 processes, on cpu and cpu" in log and "trains in" not in quiet
    assert one.keys() == two.keys() == set(SITES)
    for site in SITES:
        for name, score in one[site]["test"].items():
            assert two[site]["test"][name] == pytest.approx(score, rel=1e-3), (site, name)
        print(site, one[site]["test"], two[site]["test"])
