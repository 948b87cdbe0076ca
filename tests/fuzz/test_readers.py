# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""No file, however damaged or hostile, makes a reader crash, hang, fill the memory, run code or leave its folder.

A process of its own reads more than a thousand files, see `worker.py`. Each is read, to finite arrays of bounded size,
or refused with one line that names it.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_mri.io.formats import FORMATS

pytestmark = pytest.mark.slow
WORKER = Path(__file__).with_name("worker.py")
ROOT = WORKER.parents[2]
MADE = (
    *(f"format-{name}" for name, entry in FORMATS.items() if entry.write_sample is not None),
    "nifti",
    "labelled",
    "channels",
    "png",
    "fastmri",
    "dicom",
    "raw-ismrmrd",
    "raw-fastmri",
    "raw-bart",
    "yaml",
    "datalist",
    "results",
    "masks",
    "examples",
    "space",
    "model",
    "store",
)
REAL = ("real-nifti", "real-labels", "real-fastmri", "real-dicom", "real-raw")
SEED = 0


class Run:
    """Report of a worker: every case that it began, and how each ended."""

    def __init__(self, output: str, errors: str, code: int):
        self.errors, self.code = errors[-3000:], code
        self.begun: dict[tuple[str, int], str] = {}
        self.ended: dict[tuple[str, int], dict[str, Any]] = {}
        for line in map(json.loads, output.splitlines()):
            key = (line["kind"], line["case"])
            if "change" in line:
                self.begun[key] = f"{line['file']}: {line['change']}"
            else:
                self.ended[key] = line

    def count(self, *kinds: str) -> Counter[str]:
        """Outcome -> number of files."""
        return Counter(line["outcome"] for (kind, _), line in self.ended.items() if kind in kinds)

    def replay(self, key: tuple[str, int]) -> str:
        """Description of a case and how to run it again."""
        command = f"python tests/fuzz/worker.py {key[0]} /tmp/fuzz --seed {SEED} --only {key[1]}"
        return f"{key[0]} case {key[1]} ({self.begun[key]}); again with: {command}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("fuzz")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER), "all", str(folder), "--seed", str(SEED)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    yield Run(done.stdout, done.stderr, done.returncode)


def test_no_file_crashes_or_hangs_a_reader(run: Run) -> None:
    open_cases = [run.replay(key) for key in run.begun if key not in run.ended]
    assert run.code == 0 and not open_cases, f"{open_cases}, exit status {run.code}: {run.errors}"


@pytest.mark.parametrize("kind", [*MADE, *REAL])
def test_every_file_is_read_or_refused(run: Run, kind: str) -> None:
    count = run.count(kind)
    if kind in REAL and not count:
        pytest.skip("no real data in $FLARE_MRI_DATA")
    failed = [(key, line) for key, line in run.ended.items() if key[0] == kind and line["outcome"] == "failed"]
    shown = "\n".join(f"{run.replay(key)}\n    {line['line']}" for key, line in failed[:10])
    assert not failed, f"{len(failed)} of {sum(count.values())} files:\n{shown}"
    assert count["read"] and count["refused"], count


def test_more_than_a_thousand_files_were_tried(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for kind in (*MADE, *REAL):
            count = run.count(kind)
            print(
                f"\n{kind:20} {sum(count.values()):4} files: {count['read']:3} read, {count['refused']:3} refused",
                end="",
            )
        print()
    assert sum(run.count(*MADE).values()) >= 1000
    assert {kind for kind, _ in run.ended} <= {*MADE, *REAL}
