# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reads one kind of changed files in a process of its own, with bounds on memory and time.

    python tests/fuzz/worker.py nifti /tmp/fuzz --only 17    # replays case 17
    python tests/fuzz/worker.py all /tmp/fuzz --seed 1       # other changes

Prints a line of JSON before and after every file, so that a crash leaves the name of the file that caused it.
"""

import argparse
import faulthandler
import json
import logging
import os
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arrays import ARRAYS
from formats import SAMPLES
from images import IMAGES
from models import MODELS
from mutators import Kind
from raw import RAW
from texts import TEXTS

from flare_mri.errors import InputError

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*SAMPLES, *IMAGES, *RAW, *TEXTS, *ARRAYS, *MODELS)}
MORE_MEMORY = 2**30  # bytes over what the process holds at the start
MOST_PEAK = 400 * 2**20  # bytes of resident memory that one file may take
MOST_SECONDS = 8.0  # of processor time
DEADLINE = 90.0  # on the clock, for what waits or hangs
MOST_RESULT = 128 * 2**20
MUST_FAIL = ("OUTSIDE", "MUST FAIL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=[*KINDS, "all"])
    parser.add_argument("folder", type=Path, help="is made anew for every kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the one case to read; its file stays in the folder")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    for name in KINDS if "all" in args.kinds else args.kinds:
        _read_all(KINDS[name], args.folder / name, args.seed, args.only)


def _read_all(kind: Kind, folder: Path, seed: int, only: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index, case in enumerate(kind.cases(folder, seed)):
        if only is not None and index != only:
            continue
        path = folder / case.name
        kept = path.read_bytes() if path.exists() else None
        _say(kind=kind.name, case=index, file=case.name, change=case.label)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.content)
        faulthandler.dump_traceback_later(DEADLINE, exit=True)  # a hang in C is out of reach of signals
        with _bounded_memory(first=index == 0):
            outcome = _outcome(kind, folder, case.label)
        faulthandler.cancel_dump_traceback_later()
        _say(kind=kind.name, case=index, **outcome)
        if only is None:
            path.unlink()
            if kept is not None:
                path.write_bytes(kept)
    if only is None:
        shutil.rmtree(folder)


@contextmanager
def _bounded_memory(first: bool) -> Iterator[None]:
    """Bounds the address space; the first read of a kind imports and allocates what all later ones share."""
    if not first:
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MORE_MEMORY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _outcome(kind: Kind, folder: Path, label: str) -> dict[str, str]:
    """Reads; the outcome is `read`, `refused` with its line, or `failed` with what is wrong."""
    before, start = _reset_peak(), time.process_time()  # other work on the machine does not count
    try:
        result = kind.read(folder)
        wrong = "it must be refused" if label.startswith(MUST_FAIL) else _wrong_result(result)
        outcome, line = ("failed", wrong) if wrong else ("read", "")
    except InputError as error:
        outcome, line = "refused", str(error)
        if label == "unchanged":
            outcome = "failed"
        elif "\n" in line or not line.isprintable() or len(line) > 3000:
            outcome, line = "failed", f"not one short line: {line[:300]!r}"
        elif str(folder) not in line and "site" not in line:
            outcome, line = "failed", f"names neither file nor site: {line}"
    except BaseException as error:  # whatever it is, it is the finding
        outcome, line = "failed", f"{type(error).__name__}: {error}"[:500]
    seconds, peak = time.process_time() - start, _status("VmHWM") - before
    if outcome != "failed" and seconds > MOST_SECONDS:
        outcome, line = "failed", f"took {seconds:.1f} s"
    if outcome != "failed" and peak > MOST_PEAK:
        outcome, line = "failed", f"took {peak / 2**20:.0f} MiB ({outcome}: {line})"
    return {"outcome": outcome, "line": line, "seconds": f"{seconds:.2f}", "MiB": f"{peak / 2**20:.0f}"}


def _wrong_result(result: Any) -> str:
    """The fault of something read; empty where it is finite, of plain types and small."""
    if isinstance(result, dict):
        return next((wrong for item in (*result, *result.values()) if (wrong := _wrong_result(item))), "")
    if isinstance(result, list | tuple):
        return next((wrong for item in result if (wrong := _wrong_result(item))), "")
    if isinstance(result, torch.Tensor):
        return "" if result.numel() * result.element_size() <= MOST_RESULT else f"a tensor of {tuple(result.shape)}"
    if isinstance(result, np.ndarray):
        if result.dtype.kind not in "biufU" or result.nbytes > MOST_RESULT or not result.size:
            return f"an array {result.shape} of {result.dtype}"
        return "" if result.dtype.kind in "biuU" or np.isfinite(result).all() else "an array that is not finite"
    return "" if isinstance(result, str | int | float | type(None)) else f"a {type(result).__name__}"


def _status(name: str) -> int:
    """A figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def _reset_peak() -> int:
    """Starts measuring the peak of resident memory anew; returns what is resident."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS")


def _say(**values: Any) -> None:
    os.write(1, (json.dumps(values) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
