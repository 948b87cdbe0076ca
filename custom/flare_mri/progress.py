# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Lines that tell of work, and a bar for long work: on stderr, where that is a terminal, after two seconds."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


def with_progress(items: Iterable[T], what: str, unit: str = "scan") -> Iterable[T]:
    """The items one by one, with a bar called `what` that is gone when all are done."""
    bar: Iterable[T] = tqdm(items, desc=what, unit=unit, delay=2, leave=False, disable=None)
    return bar


@contextmanager
def with_progress_of(network: "nn.Module", what: str, batches: int | None) -> Iterator[None]:
    """A bar called `what` for the batches that a network is given meanwhile, of so many, or None: not known."""
    with tqdm(desc=what, total=batches, unit="batch", delay=2, leave=False, disable=None) as bar:

        def advance(*_: object) -> None:  # what a hook returns takes the place of the network's output
            bar.update()

        hook = network.register_forward_hook(advance)
        try:
            yield
        finally:
            hook.remove()


def print_beside(line: str, file: IO[str] | None = None) -> None:
    """Print a line, by default to stdout, that does not run into a bar."""
    tqdm.write(line, file=file)


def count(number: int, what: str) -> str:
    """Such as `2 scans`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
