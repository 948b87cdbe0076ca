# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A job in FLARE's simulator with a site of two processes beside a site of one."""

import json
import math
import sys
import tempfile
from pathlib import Path

import pytest

from simulation import prepare, run

SITES = ["site-1", "site-2"]
SMALL = ["--num_rounds", "1", "--num_cascades", "2", "--channels", "4", "--num_pools", "2"]


@pytest.mark.slow
def test_two_processes_in_the_simulator(tmp_path: Path, cache: Path) -> None:
    """The numbers are compared in tests/parallel; here FLARE's own processes start and end those of the site."""
    prepare(tmp_path / "fedmri", SITES, cache)
    settings = tmp_path / "fedmri" / "local" / "site-1" / "site.yaml"
    settings.write_text(settings.read_text().replace("batch_size: 1", "batch_size: 2\nprocesses: 2\ndevice: cpu"))
    command = [sys.executable, "jobs/fedmri/job.py", *SMALL, "--n_clients", "2", "--workspace", tmp_path]
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # a short path: FLARE makes sockets in it
        run(*command, TMPDIR=temporary)
        assert not list(Path(temporary).glob("flare-mri-*")), "what the processes wrote is removed with them"
    results = json.loads((tmp_path / "fedmri" / "server" / "simulate_job" / "results.json").read_text())
    sites = results["methods"]["FedMRI"]["sites"]
    assert sites.keys() == set(SITES) and all(math.isfinite(sites[site]["test"]["psnr"]) for site in SITES)
    logs = {s: "".join(p.read_text() for p in (tmp_path / "fedmri" / s).rglob("log*.txt")) for s in SITES}
    assert "trains in 2 processes, on cpu and cpu" in logs["site-1"] and "trains in" not in logs["site-2"]
