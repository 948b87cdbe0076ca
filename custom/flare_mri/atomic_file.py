# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files that get their name when they are complete: a reader sees the former content or all of the new one.

They are written under a temporary name in the same folder, locked for as long as a process writes them, so that what a
killed one left can be told from what a living one writes.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from flare_mri.errors import InputError

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp\Z", re.DOTALL)


@contextmanager
def atomic_file(path: Path, mode: int = 0o666, replace: bool = True, sync: bool = True) -> Iterator[IO[bytes]]:
    """An open file that takes the place of `path` at the end of the block, and leaves nothing where the block raises.

    Args:
        path: the file; its folder is there.
        mode: of the new file, less the process's umask; 0o600 for what concerns a patient.
        replace: False refuses a file that is there, also one that another process has just put there.
        sync: whether it is on the disk before it gets its name. False is for what can be made again and is checked
            when it is read: after a power failure it may be cut short.

    Raises:
        FileExistsError: the file is there and not to be replaced.
        OSError: the folder cannot be written to or the disk is full; what was there before is still there.
    """
    temporary, file = _new_file(path, mode)
    with file:
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                _place(temporary, path)
        except BaseException:
            with suppress(OSError):  # the first error counts
                temporary.unlink()
            raise


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666, replace: bool = True) -> None:
    """Writes a file, text as UTF-8, as :func:`atomic_file`; its folder is made where it is missing.

    What a killed process left of the same file is removed.

    Args:
        path: the file.
        content: all of it.
        mode: of the new file, less the process's umask; 0o600 for what concerns a patient.
        replace: False refuses a file that is there, also one that another process has just put there.

    Raises:
        InputError: the folder cannot be made or written to, or the file is there and not to be replaced; what was
            there before is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # a folder that may be written to and not be listed
            remove_unfinished(path.parent, lambda name: name == path.name)
        with atomic_file(path, mode, replace) as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        if isinstance(error, FileExistsError) and not replace:
            raise InputError(f"{path}: expected no such file, got one; nothing was overwritten") from None
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to") from None


def final_name(name: str) -> str | None:
    """The name that a file of this temporary name was to get; None for the name of any other file."""
    found = _TEMPORARY.match(name)
    return found[1] if found else None


def remove_unfinished(folder: Path, own: Callable[[str], object]) -> None:
    """Removes the files that killed processes were writing; what a living one writes is locked, and stays.

    Args:
        folder: where they lie.
        own: says of the name that a file was to get whether it is the caller's; others stay.

    Raises:
        OSError: the folder cannot be listed.
    """
    for path in folder.iterdir():
        name = final_name(path.name)
        if name is not None and own(name):
            with suppress(OSError):  # locked, or another process removed it, or the next start can
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)


def _new_file(path: Path, mode: int) -> tuple[Path, IO[bytes]]:
    """A new file beside `path`, locked for as long as it is open."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb")
        with suppress(OSError):  # a folder without locks: then no process can remove the file either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # another process held it for left over before the lock was there


def _place(temporary: Path, path: Path) -> None:
    """Gives a file its name; fails where there is a file of that name, however late it came."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # USB sticks and some network folders know no links: an empty file keeps the name until it is there
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        temporary.replace(path)
    else:
        temporary.unlink()
