# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A drop folder: scans are done as they arrive, each once, when it is complete."""

import time
from pathlib import Path
from typing import NoReturn

from flare_mri.errors import InputError
from flare_mri.inference.application import Application
from flare_mri.inference.results_folder import ResultsFolder

Signature = tuple[tuple[str, int, int], ...]


class DropFolder:
    """A folder that files, and folders of DICOM series, are put into.

    It is looked at again and again, since folders of other machines tell nobody of a change. What is the same in two
    looks is complete. A scan with a result is done, also by a run of before; one that failed is left where it is, and
    tried again when it changes or at the next start.

    Args:
        folder: to watch; names that begin with a dot are left alone.
        application: the model.
        results: where results go, outside the folder.

    Raises:
        InputError: it is no folder, or the results lie in it and would be taken for scans.
    """

    def __init__(self, folder: Path, application: Application, results: ResultsFolder):
        if not folder.is_dir():
            raise InputError(f"watch: expected a folder, got {folder}, which is none; make it, or correct the path")
        if results.out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"out: expected a folder outside {folder}, which is watched, got {results.out}; move it")
        self._folder, self._application, self._results = folder, application, results
        self._seen: dict[Path, Signature] = {}
        self._tried: dict[Path, Signature] = {}
        self._lost = False

    def watch(self, settle: float) -> NoReturn:
        """Looks every `settle` seconds until the process is stopped."""
        while True:
            self.look()
            time.sleep(settle)

    def look(self) -> None:
        """Does what has not changed since the last look, and not been tried as it is."""
        now = self._list()
        for path, signature in now.items():
            if self._seen.get(path) == signature != self._tried.get(path):
                self._do(path)
                self._tried[path] = signature
        self._seen = now
        self._tried = {path: signature for path, signature in self._tried.items() if path in now}

    def _list(self) -> dict[Path, Signature]:
        """Signatures of all that lies in the folder, by path; empty while the folder is not there."""
        try:
            paths = sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            if not self._lost:
                self._results.fail(f"{self._folder}: cannot be read ({error.strerror}); waiting until it can")
            self._lost = True
            return {}
        self._lost = False
        return {path: sign for path in paths if path.suffix != ".hdr" and (sign := _sign(path))}

    def _do(self, path: Path) -> None:
        here = self._application.at(path)
        try:
            names = here.names
        except InputError as error:
            self._results.fail(f"{path}: no scan that can be read: {error}")
            return
        for number, name in enumerate(names):
            done = self._results.main_file(name)
            if done.exists():
                print(f"{done.name}: is there already; {path.name} is left", flush=True)
            else:
                self._results.run(here, number)
        self._results.done.clear()  # nothing is summed up at the end, and a watch may last for months


def _sign(path: Path) -> Signature:
    """Names, sizes and times of the files of an entry; empty where there is none, or one is just going."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if path.suffix == ".cfl":
        files.append(path.with_suffix(".hdr"))
    try:
        states = [(str(file), file.stat()) for file in files if not file.is_dir()]
    except OSError:
        return ()
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
