# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The job site_statistics through FLARE's simulator, in the form without code, and the page of what it leaves."""

import json
import sys
from pathlib import Path

import pytest

from conftest import write_site
from flare_mri.flare.recipes.job import run_dir
from flare_mri.flare.recipes.staging import stage_code
from flare_mri.program.main import main
from simulation import NVFLARE, REPO, prepare, run

SITES = ["site-1", "site-2"]


@pytest.mark.slow
def test_two_sites_tell_of_their_data(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for site in SITES:
        write_site(tmp_path / "sites" / site, cache)
        path = (tmp_path / "sites" / site / "local" / "site.yaml").rename(tmp_path / "sites" / site / "site.yaml")
        path.write_text(path.read_text() + "statistics: {min_count: 3, max_bins_percent: 100}\n")
    words = ["-m", "flare_mri", "statistics", "--sites", tmp_path / "sites", "--workspace", tmp_path / "w", "--no_code"]
    told = run(sys.executable, *words, "--bins", "2")
    folder = run_dir(tmp_path / "w", "site_statistics")
    found = json.loads((folder / "statistics.json").read_text())
    assert found["sites"] == SITES and found["statistics"]["height"]["mean"]["Global"]["patients"] == 32
    assert sum(count for *_, count in found["statistics"]["coils"]["histogram"]["site-1"]["patients"]) == 3
    assert str(folder / "statistics.html") in told
    page = (folder / "statistics.html").read_text()
    assert all(word in page for word in ("site-2", "Intensities", "<svg", "6 patients"))
    assert main(["report", str(folder / "statistics.json"), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == page
    damaged = folder / "damaged.json"
    damaged.write_text((folder / "statistics.json").read_text().replace('"brightness"', '"<script>"'))
    assert main(["report", str(damaged), "--out", str(tmp_path / "other.html")]) == 2
    assert "expected features of this version, got '<script>'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_folder_of_the_job_runs_by_flares_own_command(tmp_path: Path, cache: Path) -> None:
    """As it stands in jobs/, with its code, at two sites; the dashboard and the admin console take the same folder."""
    stage_code(REPO / "jobs" / "site_statistics")
    workspace = prepare(tmp_path / "w", SITES, cache)
    for site in SITES:
        path = workspace / "local" / site / "site.yaml"
        path.write_text(path.read_text() + "statistics: {min_count: 3, max_bins_percent: 100}\n")
    run(NVFLARE, "simulator", REPO / "jobs" / "site_statistics", "-w", workspace, "-n", "2", "-t", "2", cwd=tmp_path)
    left = workspace / "server" / "simulate_job" / "statistics.json"
    found = json.loads(left.read_text())["statistics"]
    assert found["height"]["mean"].keys() == {*SITES, "Global"}
    assert main(["report", str(left), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert all(word in page for word in (*SITES, "Intensities", "<svg"))
