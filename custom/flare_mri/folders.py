# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of this user alone: their owner and mode are checked before anything in them is believed or written."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from flare_mri.errors import InputError

PRIVATE = 0o700
"""Mode of a folder that holds images, weights or settings: only its owner may list it."""


def check_own_folder(path: Path, what: str) -> None:
    """Refuses a folder in which another user of this machine could have put files, or could put them.

    Args:
        path: an existing folder.
        what: how the message calls it.

    Raises:
        InputError: it is a symbolic link or no folder, belongs to another user, or others may write to it; or a folder
            above it belongs to another user than root, or anyone may replace what is in it.
    """
    try:
        state = path.lstat()
    except OSError as error:
        raise InputError(f"{what} {path}: cannot be read ({error.strerror}); choose a folder of your own") from error
    if not stat.S_ISDIR(state.st_mode):
        raise InputError(f"{what} {path}: expected a folder, got a link or a file; choose a folder of your own")
    if state.st_uid != os.geteuid():
        raise InputError(
            f"{what} {path}: expected a folder of user {os.geteuid()}, got one of user {state.st_uid}, whose files "
            "would be run and believed; choose a folder of your own"
        )
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(state.st_mode)
        raise InputError(
            f"{what} {path}: expected a folder that only its owner may write to, got mode {mode:o}; look at what lies "
            f"in it, then chmod 700 {path}"
        )
    for above in Path(os.path.realpath(path)).parents:
        state = above.stat()
        open_to_all = state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX
        if open_to_all or state.st_uid not in (0, os.geteuid()):
            raise InputError(
                f"{what} {path}: lies in {above}, a folder of user {state.st_uid} with mode "
                f"{stat.S_IMODE(state.st_mode):o}, in which others could put another in its place; choose another place"
            )


def private_folder(path: Path, what: str) -> Path:
    """Makes a folder that only this user may list (mode 0700), or makes sure that an existing one is that.

    Folders above it that are missing are made with the same mode; those that exist stay as they are.

    Args:
        path: the folder.
        what: how the message calls it.

    Raises:
        InputError: as :func:`check_own_folder`, or it cannot be made.
    """
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            with suppress(FileExistsError):  # another process of this user was faster
                folder.mkdir(mode=PRIVATE)
        check_own_folder(path, what)
        if stat.S_IMODE(path.stat().st_mode) != PRIVATE:
            path.chmod(PRIVATE)
    except OSError as error:
        raise InputError(f"{what} {path}: cannot be made ({error.strerror}); free or move it") from error
    return path
