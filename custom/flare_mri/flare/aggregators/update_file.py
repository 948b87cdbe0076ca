# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The updates of a round on the server's disk, so that its memory does not grow with the number of sites."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from flare_mri.errors import InputError


class UpdateFile:
    """Keeps checked updates in a file without a name, and reads them back as a whole or in pieces.

    A record an update, of one size, since all have the names, shapes and types of `layout`. The file has no name in its
    folder and belongs to this user alone: it is gone when it is closed, and when the process ends in any way.

    Args:
        layout: tensors by name, of which only shapes and types count.
        folder: on a disk; a folder in memory, as ``/tmp`` is on some systems, would save nothing.
        sites: how many updates are expected.

    Raises:
        InputError: there is less space than they take, or no file can be made.
    """

    def __init__(self, layout: Mapping[str, Tensor], folder: Path, sites: int = 0):
        self._layout, self._folder = layout, folder
        self._starts: dict[str, int] = {}
        self._size = 0
        for key, value in layout.items():
            self._starts[key] = self._size
            self._size += value.numel() * value.element_size()
        self._places: dict[str, int] = {}
        try:
            free = shutil.disk_usage(folder).free
            # It lasts for a round. Without a buffer, in which what a full disk does not take would stay for the next.
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from error
        if sites * self._size > free:
            raise InputError(
                f"updates of {sites} sites take {sites * self._size / 1e9:.3g} GB in {folder}, expected as much free "
                f"space, got {free / 1e9:.3g} GB; free some, or ask fewer sites a round (sites_per_round)"
            )

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def put(self, site: str, update: Mapping[str, Tensor]) -> None:
        """Write a site's update; its tensors may go afterwards.

        Raises:
            InputError: the disk does not take it. Those of other sites stay.
        """
        place = self._places.get(site, len(self._places))
        try:
            self._file.seek(place * self._size)
            for key in self._layout:
                flat = update[key].detach().cpu().contiguous().reshape(-1)
                rest = flat.view(torch.uint8).numpy().data
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failure(error) from error
        self._places[site] = place

    def read(self, site: str, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Elements `start` to `stop` of a tensor of a site's update, as one row; all of them in its shape.

        Raises:
            InputError: the disk does not give it.
        """
        like = self._layout[key]
        count = (like.numel() if stop is None else stop) - start
        if not count:
            return torch.empty(like.shape if stop is None else 0, dtype=like.dtype)
        content = bytearray(count * like.element_size())
        try:
            self._file.seek(self._places[site] * self._size + self._starts[key] + start * like.element_size())
            rest = memoryview(content)
            while rest:
                if not (came := self._file.readinto(rest)):
                    raise OSError(0, "it is shorter than what was written")
                rest = rest[came:]
        except OSError as error:
            raise self._failure(error) from error
        values = torch.frombuffer(content, dtype=like.dtype)
        return values.reshape(like.shape) if stop is None else values

    def _failure(self, error: OSError) -> InputError:
        return InputError(
            f"updates of the round cannot be kept in {self._folder}: {error.strerror or error}; {self._size / 1e6:.3g} "
            "MB are needed for each site, free space there and resume the job"
        )
