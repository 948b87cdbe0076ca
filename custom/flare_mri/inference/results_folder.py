# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of results: written scan by scan, for their owner alone, over nothing that is there."""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flare_mri.atomic_file import write_atomically
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.inference.application import Application, Result
from flare_mri.progress import count, print_beside, with_progress
from flare_mri.report.extra import check_report_extra

_OVERVIEW = "overview.png"
MOST_SCANS = 12
"""Of which the overview shows a slice."""


class ResultsFolder:
    """Results of a model in a folder, and a line of each scan on stdout or, where it fails, on stderr.

    Args:
        application: the model, which says what files a scan has.
        out: the folder; made with the first result.

    Attributes:
        done: by the main file of a scan, its result without contents.
        failed: number of scans that failed.

    Raises:
        InputError: `out` is a file.
    """

    def __init__(self, application: Application, out: Path):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: expected a folder for the results, got a file; choose another path")
        self.out, self.done, self.failed = out, dict[Path, Result](), 0
        self._ending, self._more, self._colours = application.ending, application.more_endings, application.colours
        self._calibrated = application.calibrated

    def main_file(self, name: str) -> Path:
        """The file of a scan without which it is not done."""
        return self._file(name, self._ending)

    def _file(self, name: str, ending: str) -> Path:
        return self.out / f"{name.replace('/', '_')}{ending}"

    def check_free(self, names: Sequence[str]) -> None:
        """Refuses scans of which a file is there, before any is read.

        Raises:
            InputError: one is there, or two scans would have the same.
        """
        files = [self.main_file(name) for name in names]
        for path in files:
            if files.count(path) > 1:
                raise InputError(f"{path}: expected one scan of this name, got two; rename one of them")
        more = [self._file(name, ending) for name in names for ending in self._more]
        for path in (*files, *more, self.out / _OVERVIEW):
            if path.exists():
                raise InputError(f"{path}: expected a folder without results, got this file; choose another folder")

    def run_all(self, application: Application) -> None:
        """Applies the model scan by scan; of :data:`MOST_SCANS`, evenly chosen, a picture is kept."""
        scans = len(application.scans)
        shown = set(np.linspace(0, scans - 1, min(MOST_SCANS, scans)).round().astype(int))
        for number in with_progress(range(scans), "applying"):
            self.run(application, number, number in shown)

    def run(self, application: Application, number: int, shown: bool = False) -> Result | None:
        """Applies the model to one scan and writes its files, the main one last.

        A scan that cannot be read, or that the device has no memory for, costs a line on stderr and is counted.

        Args:
            application: as of this folder.
            number: of the scan.
            shown: whether its picture is kept for the overview.

        Returns:
            The whole result; None where it failed.
        """
        start = time.perf_counter()
        path = self.main_file(application.names[number])
        try:
            result = application.apply(number)
            self._write(application.names[number], result)
        except InputError as error:
            self.fail(str(error))
            return None
        except (torch.OutOfMemoryError, MemoryError):
            where = application.scans[number].origin
            self.fail(f"{where}: expected to fit into the device's memory, got none left; set device: cpu")
            return None
        kept = {} if not shown else result.pictures
        self.done[path] = replace(result, content=b"", more={}, pictures=kept)
        for warning in result.warnings:
            print_beside(f"warning: {path.name}: {warning}", sys.stderr)
        print_beside(f"{path.name}: {result.text}, {time.perf_counter() - start:.1f} s")
        return result

    def fail(self, told: str) -> None:
        """A line on stderr for a scan that is not done."""
        self.failed += 1
        print_beside(f"error: {told}", sys.stderr)

    def _write(self, name: str, result: Result) -> None:
        folders: dict[str, dict[str, bytes]] = {}
        for ending, content in result.more.items():
            folder, slash, inner = ending.partition("/")
            if slash:
                folders.setdefault(folder, {})[inner] = content
            else:
                write_private(self._file(name, ending), content)
        for ending, files in folders.items():
            _write_folder(self._file(name, ending), files)
        write_private(self.main_file(name), result.content)

    def finish(self, scans: int) -> int:
        """Ends the work on so many scans: the summary of those that are done, a line on stderr where some failed.

        Returns:
            The exit status: 0, or 2 where one failed.
        """
        if self.done:
            self._summarise()
        if self.failed:
            told = f"{self.failed} of {count(scans, 'scan')} failed"
            print(f"error: {told}, as told above; fix or move them", file=sys.stderr)
        return 2 if self.failed else 0

    def _summarise(self) -> None:
        """Prints mean scores and, where the extra `report` is installed, draws the overview."""
        results = self.done
        scores = [result.scores for result in results.values() if result.scores]
        if scores:
            means = {key: sum(score[key] for score in scores) / len(scores) for key in scores[0]}
            among = "" if len(scores) == len(results) else f" of {len(scores)} with scores"
            print(f"mean{among}: PSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.3f}, NMSE {means['nmse']:.4f}")
        predicted = {path: value for path, result in results.items() if (value := result.predicted_dice) is not None}
        if predicted:
            warned = sum(bool(results[path].warnings) for path in predicted)
            told = f"mean predicted Dice {sum(predicted.values()) / len(predicted):.2f}"
            print(f"{told}; {warned} of {count(len(predicted), 'scan')} with a warning")
            if not self._calibrated:
                print("predicted Dice ranks these scans; its values, of a curve fitted to other data, may be off")
        pictures = {self._name(path): result.pictures for path, result in results.items() if result.pictures}
        if not pictures:
            print(f"Results: {self.out.resolve()}")
            return
        try:
            check_report_extra(_OVERVIEW)
        except InputError as error:
            print(f"Results: {self.out.resolve()}; no {error}")
            return
        from flare_mri.inference.overview import overview  # matplotlib takes a second to import: only when all is done

        captions = {self._name(path): f"predicted Dice {value:.2f}" for path, value in predicted.items()}
        titles = {self._name(path): (found.title, found.shown) for path, found in results.items()}
        write_private(self.out / _OVERVIEW, overview(pictures, self._colours, captions, titles))
        print(f"Results: {self.out.resolve()}; to look at: {_OVERVIEW}")

    def _name(self, path: Path) -> str:
        return path.name.removesuffix(self._ending)


def write_private(path: Path, content: bytes) -> None:
    """Writes what shows a patient: for its owner alone, and not over a file that came after one looked."""
    if not path.parent.exists():
        private_folder(path.parent, "out")
    write_atomically(path, content, mode=0o600, replace=False)


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of such files that gets its name when it is complete."""
    if path.exists():
        raise InputError(f"{path}: expected no such folder, got one; nothing was overwritten")
    if not path.parent.exists():
        private_folder(path.parent, "out")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as above:
            made = Path(above, path.name)
            made.mkdir(mode=0o700)
            for name, content in files.items():
                write_private(made / name, content)
            made.rename(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
