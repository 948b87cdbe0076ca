# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Logs of a mistake at a site: FLARE's, which others read, and the site's own."""

import datetime
import stat
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from federation import Federation
from flare_mri.flare.executors import site_log
from flare_mri.flare.executors.site_log import LOG_FILE, write_site_log
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.recipes.simulate import tell_failed_sites


def federation(root: Path, sites: list[str]) -> Federation:
    return Federation(FedMRIRecipe(min_clients=3, num_rounds=1, network=TINY, include_code=False), sites, root)


def test_a_path_in_a_mistake_stays_at_the_hospital(
    tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "site-2" / "local" / "site.yaml").write_text("data: {format: dicom, root: /nowhere/Doe_Jane}\n")
    run = federation(tmp_path, sites)
    run.run()
    assert run.panics and "not ready: site-2" in run.panics[0] and "Doe" not in run.panics[0]
    assert "site site-2: check: it cannot be done; the end of flare_mri.log" in caplog.text
    assert "Doe" not in caplog.text and str(tmp_path) not in caplog.text
    own = tmp_path / "site-2" / LOG_FILE
    assert "/nowhere/Doe_Jane" in own.read_text() and stat.S_IMODE(own.stat().st_mode) == 0o600


def test_an_error_nobody_thought_of_leaves_no_traceback(
    tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("/data/Doe_Jane/series: stale file handle")

    monkeypatch.setattr("flare_mri.parallel.local_job.build_task", fail)
    federation(tmp_path, sites).run()
    assert "check: an unexpected OSError; the end of flare_mri.log" in caplog.text and "Doe" not in caplog.text
    told = (tmp_path / "site-1" / LOG_FILE).read_text()
    assert "Traceback" in told and "/data/Doe_Jane/series: stale file handle" in told


def test_the_simulator_tells_each_failed_site_s_one_line_of_this_run(
    tmp_path: Path, sites: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_and_tell(*names: str) -> list[str]:
        started = datetime.datetime.now().astimezone()
        for name in names:
            federation(tmp_path, sites).ask(name, "check", params={}, meta={})
        tell_failed_sites(tmp_path, started)
        return capsys.readouterr().err.splitlines()

    (tmp_path / "site-2" / "local" / "site.yaml").write_text("data: {format: magic}\n")
    write_site_log(tmp_path / "site-2", "no site.yaml at /a\nb")  # which ends no task
    (line,) = run_and_tell("site-1", "site-2")
    assert line.startswith("site-2: check: site 'site-2', ") and "data.format: expected" in line

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("/data/Doe_Jane/series: stale file handle")

    log = tmp_path / "site-2" / LOG_FILE
    log.write_text(log.read_text().replace(f"{datetime.date.today().year}-", "2001-"))  # of a run before
    monkeypatch.setattr("flare_mri.parallel.local_job.build_task", fail)
    assert run_and_tell("site-3") == ["site-3: check: OSError: /data/Doe_Jane/series: stale file handle"]


def test_a_phantom_is_told_without_a_path(tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "site-3" / "local" / "site.yaml").unlink()
    federation(tmp_path, sites).ask("site-3", "check", params={}, meta={})
    assert "site site-3: no site.yaml: using the PHANTOM, not your data" in caplog.text
    assert str(tmp_path) not in caplog.text and str(tmp_path) in (tmp_path / "site-3" / LOG_FILE).read_text()


def test_a_log_that_cannot_be_written_does_not_hide_the_error(
    tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "site-2" / "local" / "site.yaml").write_text("data: {format: magic}\n")
    (tmp_path / "site-2" / LOG_FILE).symlink_to(tmp_path / "other")
    federation(tmp_path, sites).run()
    assert "check: it cannot be done; flare_mri.log in this site's FLARE folder cannot be written" in caplog.text
    assert not (tmp_path / "other").exists()


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_log, "_MOST_BYTES", 100)
    for number in range(20):
        write_site_log(tmp_path, f"line {number} " + 30 * "x")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [LOG_FILE, f"{LOG_FILE}.1"] and "line 19" in (tmp_path / LOG_FILE).read_text()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 400


def test_a_network_of_two_outputs_is_told_before_the_first_round(tmp_path: Path, sites: list[str]) -> None:
    """Its loss would broadcast over both channels."""
    network = {"path": "monai.networks.nets.BasicUNet", "args": {"out_channels": 2, "features": [4] * 6}}
    recipe = FedMRIRecipe(min_clients=3, method="FedAvg", num_rounds=1, network=network, include_code=False)
    run = Federation(recipe, sites, tmp_path)
    run.run()
    assert "not ready: site-1, site-2, site-3" in run.panics[0]
    told = (tmp_path / "site-1" / LOG_FILE).read_text()
    assert "expected an output of shape [1, 1, 32, 32], got [1, 2, 32, 32]; set in_channels" in told
