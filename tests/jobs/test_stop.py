# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A job that is stopped: one line and the exit code of the command lines' page, and no process stays."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil


def test_ctrl_c_to_the_command_alone_is_no_crash(tmp_path: Path) -> None:
    """As from a batch system; at a terminal the simulator's processes get the signal too."""
    words = ["train", "fedmri", "--n_clients", "2", "--num_rounds", "500", "--channels", "2", "--num_pools", "1"]
    words += ["--workspace", str(tmp_path / "w")]
    with (tmp_path / "out").open("w") as out:
        command = subprocess.Popen(
            [sys.executable, "-m", "flare_mri", *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in background
        )
        try:
            deadline = time.monotonic() + 300
            while "Sending task train" not in (tmp_path / "out").read_text():
                assert command.poll() is None and time.monotonic() < deadline, (tmp_path / "out").read_text()
                time.sleep(0.5)
            started = psutil.Process(command.pid).children(recursive=True)
            command.send_signal(signal.SIGINT)
            assert command.wait(120) == 130
        finally:
            command.kill()
    assert (tmp_path / "out").read_text().splitlines()[-1] == "stopped"
    assert started and not psutil.wait_procs(started, timeout=30)[1]
