# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The soak made short: it runs, counts every answer and leaves its plot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import processes

REPO = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.deploy
def test_a_short_soak(tmp_path: Path) -> None:
    command = [sys.executable, "poc/soak.py", "--sites", "2", "--num_rounds", "4", "--output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "FINISHED:COMPLETED; 8 of 8 answers arrived" in done.stdout
    summary = json.loads((tmp_path / "soak.json").read_text())
    assert sorted(summary["memory"]) == ["hospital-1", "hospital-2", "server"]
    assert (tmp_path / "soak.png").stat().st_size > 10_000 and processes.find(tmp_path) == []
