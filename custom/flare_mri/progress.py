# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A bar for work on many scans: on stderr, where that is a terminal, after two seconds."""

from collections.abc import Collection, Iterable
from typing import IO, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def with_progress(items: Collection[T], what: str, unit: str = "scan") -> Iterable[T]:
    """The items one by one, with a bar called `what` that is gone when all are done."""
    bar: Iterable[T] = tqdm(items, desc=what, unit=unit, delay=2, leave=False, disable=None)
    return bar


def print_beside(line: str, file: IO[str] | None = None) -> None:
    """Print a line, by default to stdout, that does not run into a bar."""
    tqdm.write(line, file=file)
