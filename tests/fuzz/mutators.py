# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Mutations of valid files: changes of bytes, of values in a tree, and what a case of the fuzz test is made of."""

import copy
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**62, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**30,
    -(10**30),
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "~nobody-of-this-name/x",
    "a\nb\x1b[2J",
    "\x00",
    "x" * 5000,
    "$HOME/${x:-y}",
    [],
    {},
    [[[[]]]],
    {"a": {"b": {}}},
    [1, 2],
    ["a", "b"],
)


@dataclass(frozen=True)
class Base:
    """A valid file.

    Attributes:
        name: where it lies in the case's folder.
        content: its bytes, or those within `wrap`.
        wrap: packs `content`, such as gzip; both the packed and the unpacked bytes are then changed.
        tree: the same content as JSON-like values, where it is text; `dump` writes them.
    """

    name: str
    content: bytes
    wrap: Callable[[bytes], bytes] | None = None
    tree: Any = None
    dump: Callable[[Any], str] | None = None

    @property
    def whole(self) -> bytes:
        """The valid file."""
        return self.wrap(self.content) if self.wrap else self.content


@dataclass(frozen=True)
class Case:
    """One file to read: the name it has, its content, and what was done to it."""

    name: str
    content: bytes
    label: str


@dataclass(frozen=True)
class Kind:
    """One reader.

    Attributes:
        name: of the reader.
        count: number of random changes.
        prepare: writes what else the reader needs into a folder; returns the valid files and the hostile ones.
        read: reads the folder; returns arrays or plain values.
    """

    name: str
    count: int
    prepare: Callable[[Path], tuple[list[Base], list[Case]]]
    read: Callable[[Path], Any]

    def cases(self, folder: Path, seed: int) -> Iterator[Case]:
        """Yields the valid files, the hostile ones, then the random changes; the same seed gives the same bytes."""
        bases, hostile = self.prepare(folder)
        yield from (Case(base.name, base.whole, "unchanged") for base in bases)
        yield from hostile
        for index in range(self.count if bases else 0):
            draw = random.Random(f"{self.name} {seed} {index}")
            yield changed(bases[index % len(bases)], draw)


def changed(base: Base, draw: random.Random) -> Case:
    """Changes one valid file at random."""
    if base.tree is not None and base.dump is not None and draw.random() < 0.6:
        tree, label = _change_tree(base.tree, draw)
        return Case(base.name, base.dump(tree).encode("utf-8", "surrogatepass"), label)
    inside = base.wrap is not None and draw.random() < 0.6
    content = bytearray(base.content if inside else base.whole)
    labels = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        change = draw.choice(CHANGES)
        labels.append(f"{change.__name__} {change(content, draw)}")
    whole = base.wrap(bytes(content)) if inside and base.wrap else bytes(content)
    return Case(base.name, whole, f"{'inside ' if inside else ''}{', '.join(labels)}")


def _place(content: bytearray, draw: random.Random) -> int:
    """Half of all changes are near the start, where headers are."""
    return draw.randrange(min(len(content), 600) if draw.random() < 0.5 else len(content)) if content else 0


def flip(content: bytearray, draw: random.Random) -> str:
    """Flips single bits."""
    places = [_place(content, draw) for _ in range(draw.choice((1, 3, 20)))] if content else []
    for place in places:
        content[place] ^= 1 << draw.randrange(8)
    return f"at {places[:3]}"


def truncate(content: bytearray, draw: random.Random) -> str:
    """Cuts the end off."""
    place = _place(content, draw)
    del content[place:]
    return f"at {place}"


def overwrite(content: bytearray, draw: random.Random) -> str:
    """Overwrites a block with noise or with one byte."""
    place, size = _place(content, draw), draw.choice((4, 16, 100, 1000))
    block = draw.randbytes(size) if draw.random() < 0.5 else bytes([draw.choice((0, 0xFF, 0x20))]) * size
    content[place : place + size] = block[: len(content) - place]
    return f"{size} at {place}"


def number(content: bytearray, draw: random.Random) -> str:
    """Writes an extreme whole number."""
    value, size = draw.choice(NUMBERS), draw.choice((1, 2, 4, 8))
    place = _place(content, draw) & ~(size - 1)
    written = (value & (256**size - 1)).to_bytes(size, draw.choice(("little", "big")))  # type: ignore[arg-type]
    content[place : place + size] = written[: len(content) - place]
    return f"{value:#x} at {place}"


def real(content: bytearray, draw: random.Random) -> str:
    """Writes an extreme real number."""
    value, place = draw.choice((float("nan"), float("inf"), -1e30, 1e30, 1e-40)), _place(content, draw) & ~3
    content[place : place + 4] = struct.pack("<f", value)[: len(content) - place]
    return f"{value} at {place}"


def insert(content: bytearray, draw: random.Random) -> str:
    """Puts noise between two bytes."""
    place, size = _place(content, draw), draw.choice((1, 4, 64))
    content[place:place] = draw.randbytes(size)
    return f"{size} at {place}"


def remove(content: bytearray, draw: random.Random) -> str:
    """Takes a block out."""
    place, size = _place(content, draw), draw.choice((1, 4, 64, 500))
    del content[place : place + size]
    return f"{size} at {place}"


def repeat(content: bytearray, draw: random.Random) -> str:
    """Writes a block twice."""
    place, size = _place(content, draw), draw.choice((8, 64, 512))
    content[place:place] = content[place : place + size]
    return f"{size} at {place}"


CHANGES: tuple[Callable[[bytearray, random.Random], str], ...] = (
    flip,
    truncate,
    overwrite,
    number,
    real,
    insert,
    remove,
    repeat,
)


def _nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield tree, key
        yield from _nodes(value)


def _change_tree(tree: Any, draw: random.Random) -> tuple[Any, str]:
    """Replaces, removes or adds one value."""
    tree = copy.deepcopy(tree)
    parent, key = draw.choice(list(_nodes(tree)))
    value = draw.choice(VALUES)
    what = draw.choice(("replace", "replace", "replace", "remove", "add"))
    if what == "replace":
        parent[key] = value
    elif what == "remove":
        del parent[key]
    elif isinstance(parent, dict):
        parent[draw.choice(("x", "x\ny", "__class__", "../x", "root", "Root"))] = value
    else:
        parent.insert(key, value)
    return tree, f"{what} {key!r} with {str(value)[:30]!r}"
