# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A drop folder: each scan once, when it is complete; what is bad stops nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_series import write_model, write_series
from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.inference.results_folder import ResultsFolder
from flare_mri.inference.watch import DropFolder
from flare_mri.program.main import STOPPED


def write_scan(path: Path) -> bytes:
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((32, 32, 5), np.float32), np.eye(4)), path)
    return path.read_bytes()


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[], DropFolder]:
    """Makes the watch of `drop` anew, as a new start does."""
    (tmp_path / "drop").mkdir()
    model, _, site = write_model(tmp_path, "segmentation")

    def start() -> DropFolder:
        application = open_application(load_personal_model(Path(model)), load_site_config(site, "site-1"), look=False)
        return DropFolder(tmp_path / "drop", application, ResultsFolder(application, tmp_path / "out"))

    return start


def test_a_scan_is_done_once_when_it_has_not_changed(
    tmp_path: Path, watched: Callable[[], DropFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    drop, path = watched(), tmp_path / "drop" / "a.nii.gz"
    whole = write_scan(path)
    path.write_bytes(whole[:200])
    drop.look()
    path.write_bytes(whole)  # it still arrives
    drop.look()
    assert not (tmp_path / "out").exists() and not any(capsys.readouterr())
    drop.look()
    result = tmp_path / "out" / "a_segmentation.nii.gz"
    assert result.exists() and "a_segmentation.nii.gz: 5 slices" in capsys.readouterr().out
    drop.look()
    assert not any(capsys.readouterr())
    before = result.read_bytes(), result.stat().st_mtime_ns
    again = watched()
    again.look()
    again.look()
    assert "is there already" in capsys.readouterr().out
    assert (result.read_bytes(), result.stat().st_mtime_ns) == before


def test_what_is_bad_is_said_once_and_tried_again_when_it_changes(
    tmp_path: Path, watched: Callable[[], DropFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    drop, path = watched(), tmp_path / "drop" / "b.nii.gz"
    whole = write_scan(path)
    path.write_bytes(whole[:-200])
    (tmp_path / "drop" / "notes.txt").write_text("no scan")
    (tmp_path / "drop" / ".arriving.nii.gz").write_bytes(b"")
    write_series(tmp_path / "drop" / "t2")
    (tmp_path / "drop" / "t2" / "1.dcm").unlink()
    for _ in range(4):
        drop.look()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "b.nii.gz" in lines[0] and "notes.txt: no scan that can be read" in lines[1]
    assert "a slice is missing" in lines[2] and "t2" in lines[2]
    path.write_bytes(whole)
    drop.look()
    drop.look()
    told = capsys.readouterr()
    assert "b_segmentation.nii.gz: 5 slices" in told.out and "error" not in told.err
    assert {found.name for found in (tmp_path / "out").iterdir()} == {"b_segmentation.nii.gz"}


def test_a_folder_that_goes_and_comes_back(
    tmp_path: Path, watched: Callable[[], DropFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    drop = watched()
    (tmp_path / "drop").rename(tmp_path / "away")
    drop.look()
    drop.look()
    assert capsys.readouterr().err.count("cannot be read") == 1
    (tmp_path / "away").rename(tmp_path / "drop")
    write_scan(tmp_path / "drop" / "c.nii.gz")
    drop.look()
    drop.look()
    assert (tmp_path / "out" / "c_segmentation.nii.gz").exists()


def test_results_are_no_scans(tmp_path: Path, watched: Callable[[], DropFolder]) -> None:
    application = watched()._application
    for out in (tmp_path / "drop", tmp_path / "drop" / "out"):
        with pytest.raises(InputError, match="out: expected a folder outside"):
            DropFolder(tmp_path / "drop", application, ResultsFolder(application, out))


def test_the_command_watches_until_ctrl_c(tmp_path: Path, watched: Callable[[], DropFolder]) -> None:
    write_scan(tmp_path / "drop" / "a.nii.gz")
    model, _, site = write_model(tmp_path, "segmentation")
    words = [
        model,
        "--site",
        site,
        "--watch",
        str(tmp_path / "drop"),
        "--settle",
        "0.2",
        "--out",
        str(tmp_path / "out"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "flare_mri", "segment", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        try:
            result = tmp_path / "out" / "a_segmentation.nii.gz"
            for _ in range(1200):
                if result.exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == STOPPED and err.splitlines()[-1] == "stopped" and result.exists()
    assert "watching" in out
