# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's own log: the lines that name its files and folders, which FLARE's logs never hold."""

import datetime
import logging
import os
import re
from pathlib import Path

from flare_mri.flare.protocol import TaskName

LOG_FILE = "flare_mri.log"
_MOST_BYTES = 2**20
_RECORD = re.compile(r"^(\d{4}-\d\d-\d\dT\S+) ", re.MULTILINE)
_TASKS = {f"{name}:" for key, name in vars(TaskName).items() if key.isupper()}

_LIBRARIES = ("pydicom", "nibabel", "nibabel.global", "monai", "py.warnings")
"""Loggers whose messages may quote a header or a path."""


class _SiteLogHandler(logging.Handler):
    """Writes what a library has to say into the site's own log."""

    def __init__(self, folder: Path):
        super().__init__(logging.WARNING)
        self.folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Append one message; as in every handler, a failure goes to :meth:`logging.Handler.handleError`."""
        try:
            write_site_log(self.folder, f"{record.name}: {record.getMessage()}")
        except OSError:
            self.handleError(record)


def keep_libraries_here(folder: Path) -> None:
    """From now on messages of the libraries that read files go to the site's own log and no longer to FLARE's."""
    logging.captureWarnings(True)
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_SiteLogHandler(folder)]


def write_site_log(folder: Path, message: str) -> None:
    """Append a message with the time; a file of a megabyte is kept once, as ``flare_mri.log.1``.

    Args:
        folder: the site's FLARE folder, outside the run folders whose logs FLARE can stream.
        message: one line, or a traceback.

    Raises:
        OSError: it cannot be written, or a symbolic link stands in its place.
    """
    path = folder / LOG_FILE
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        path.replace(folder / f"{LOG_FILE}.1")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as file:
        file.write(f"{datetime.datetime.now().astimezone().isoformat(timespec='seconds')} {message.rstrip()}\n")


def last_failure(folder: Path, since: datetime.datetime) -> str | None:
    """The line that says why a task failed, of the last one that did; of a traceback its last line.

    Args:
        folder: the site's FLARE folder, as of :func:`write_site_log`.
        since: with its time zone; what failed before is of another run.

    Raises:
        OSError: the log is there and cannot be read.
    """
    path = folder / LOG_FILE
    if not path.is_file():
        return None
    _, *parts = _RECORD.split(path.read_text(encoding="utf-8", errors="replace"))
    found = None
    for moment, message in zip(parts[::2], parts[1::2], strict=True):
        task, _, told = message.strip().partition(" ")
        if task in _TASKS and told and datetime.datetime.fromisoformat(moment) >= since.replace(microsecond=0):
            found = f"{task} {told.splitlines()[-1].strip()}"
    return found
