# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""`make poc`: all of it, and that nothing stays behind when it is interrupted or fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import processes
from consortium import Consortium

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.deploy]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user with a home folder of its own, to see that neither FLARE nor the sites write there."""
    (tmp_path / "home").mkdir()
    return {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "home")}


def test_make_poc(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "poc/run_poc.py", "--output", tmp_path / "out", "--workspace", tmp_path / "w"]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=595)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for line in ("fedmri round", "iopfl round", "fedmri FINISHED:COMPLETED", "iopfl_outside FINISHED:COMPLETED"):
        assert line in done.stdout
    assert processes.find(tmp_path) == []
    assert not list((tmp_path / "home").rglob("*nvflare*")) and not list((tmp_path / "home").rglob("flare-mri*"))
    kits = next((tmp_path / "w").rglob("hospital-1/startup")).parents[1]
    for number in range(1, 5):
        store = kits / f"hospital-{number}" / "site_store"
        for job in ("fedmri", "iopfl"):
            assert (store / job / f"hospital-{number}" / "personal.safetensors").is_file()
        assert not (store / "iopfl_outside").exists()
    assert [path.name for path in (kits / "hospital-5" / "site_store").iterdir()] == ["iopfl_outside"]
    page = (tmp_path / "out" / "iopfl.html").read_text()
    assert "hospital-5" in page and "matched mix" in page and "<img" in page
    assert "FedMRI" in (tmp_path / "out" / "fedmri.html").read_text()


@pytest.mark.parametrize(
    "number, after, status", [(signal.SIGINT, "submitted as", 130), (signal.SIGTERM, "poc prepare", 143)]
)
def test_an_interrupted_run_leaves_no_process(
    number: signal.Signals, after: str, status: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Ctrl-C while a job's processes run; SIGTERM while the consortium starts."""
    command = [sys.executable, "poc/run_poc.py", "--output", tmp_path / "out", "--workspace", tmp_path / "w"]
    wanted = 10 if after == "submitted as" else 2  # 5 participants and a job process of each; the server and a site
    with subprocess.Popen(
        command,
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in background
    ) as script:
        try:
            assert script.stdout is not None
            assert any(after in line for line in script.stdout)
            deadline = time.monotonic() + 90
            while len(processes.find(tmp_path)) < wanted and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(processes.find(tmp_path)) >= wanted
            script.send_signal(number)
            assert script.wait(timeout=60) == status
        finally:
            if script.poll() is None:
                script.kill()
    assert processes.find(tmp_path) == []


def test_an_error_inside_leaves_no_process(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path / "c", ["a"])
    with pytest.raises(ZeroDivisionError), consortium:
        assert len(processes.find(tmp_path)) >= 2
        _ = 1 / 0
    assert processes.find(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_site_that_cannot_start_is_named(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path / "c", ["a", "b"])
    (consortium.kit("b") / "startup" / "fed_client.json").unlink()
    with pytest.raises(RuntimeError, match="b ended while it started; see .*b.out"), consortium:
        pass
    assert processes.find(tmp_path) == []


def test_a_killed_site_comes_back(tmp_path: Path) -> None:
    with Consortium(tmp_path / "c", ["a"]) as consortium:
        before = {process.pid for process in processes.find(consortium.kit("a"))}
        consortium.kill("a")
        assert processes.find(consortium.kit("a")) == []
        consortium.start("a", supervised=True)
        consortium.wait_until_connected(["a"])
        site = next(p for p in processes.find(consortium.kit("a")) if "fed_client.json" in p.argv)
        assert site.pid not in before
        os.kill(site.pid, signal.SIGKILL)  # FLARE's script starts it again

        def another() -> int | None:
            found = [p.pid for p in processes.find(consortium.kit("a")) if "fed_client.json" in p.argv]
            return next((pid for pid in found if pid != site.pid), None)

        assert consortium.wait_for(another, 30, "site a that was started again")
    assert processes.find(tmp_path) == []


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(FileExistsError, match="expected an empty folder"):
        Consortium(tmp_path)
