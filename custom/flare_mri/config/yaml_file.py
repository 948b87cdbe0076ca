# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Strict reading of a settings file: every key known, of the right type and in range, or one line says why not."""

import difflib
import os
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from flare_mri.errors import InputError
from flare_mri.files import read_bytes

REQUIRED: Any = object()
_MOST_BYTES = 2**16
_DEEPEST = 16  # lists and mappings within each other
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<bare>\w+))")


class _Short(reprlib.Repr):
    """Shows a line's worth of any value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write numbers of more than some thousand digits."""
        return str(x) if x.bit_length() < 512 else f"a number of {x.bit_length()} bits"


_SHORT = _Short()


def shown(value: object) -> str:
    """What a message shows of a value from a file, however large that is."""
    return _SHORT.repr(value)


class Section:
    """One mapping of a settings file. Each getter takes its key out; `finish` refuses whatever is left.

    A key that is absent or null takes the getter's default; without a default it is required.

    Args:
        values: what the YAML parser gave for this section.
        origin: how messages name the site and the file.
        folder: relative paths start here.
        prefix: dotted name of this section in the file, empty at the top.
    """

    def __init__(self, values: object, origin: str, folder: Path, prefix: str = ""):
        self.origin, self.folder, self.prefix = origin, folder, prefix
        if not isinstance(values, dict):
            name = prefix.rstrip(".") or "the file"
            raise InputError(f"{origin}: {name}: expected a mapping 'key: value', got {shown(values)}; write it as one")
        odd = [key for key in values if not isinstance(key, str)]
        if odd:
            raise InputError(
                f"{origin}: {prefix}{shown(odd[0])}: expected a key of text, got a value; put it in quotes"
            )
        self._values: dict[str, Any] = dict(values)
        self._known: list[str] = []

    def error(self, key: str, expected: str, got: object, fix: str = "correct it there") -> InputError:
        """Returns the one-line error for `key`; the caller raises it."""
        return InputError(f"{self.origin}: {self.prefix}{key[:200]}: expected {expected}, got {got}; {fix}")

    def take(self, key: str, expected: str, default: Any = REQUIRED) -> Any:
        """Returns the raw value of `key`, or `default` where it is absent or null."""
        self._known.append(key)
        value = self._values.pop(key, None)
        if value is not None:
            return value
        if default is REQUIRED:
            like = difflib.get_close_matches(key, self._values, n=1)
            raise self.error(key, expected, "nothing", f"is {like[0]!r} meant to be it?" if like else "add this key")
        return default

    def section(self, key: str) -> "Section":
        """Returns the mapping under `key`; an absent one is empty."""
        values = self.take(key, "a mapping", {})
        return Section(values, self.origin, self.folder, f"{self.prefix}{key}.")

    def text(self, key: str, default: Any = REQUIRED, expected: str = "text") -> Any:
        """Returns a string."""
        value = self.take(key, expected, default)
        if value is not default and not isinstance(value, str):
            raise self.error(key, expected, shown(value), "put it in quotes")
        return value

    def choice(self, key: str, choices: Sequence[str], default: Any = REQUIRED) -> str:
        """Returns one of `choices`."""
        expected = "one of " + ", ".join(choices)
        value = self.take(key, expected, default)
        if value not in choices:
            raise self.error(key, expected, shown(value))
        return value

    def integer(self, key: str, default: Any = REQUIRED, low: int = 0, high: int = 2**31) -> Any:
        """Returns a whole number in [low, high]."""
        expected = f"a whole number >= {low} and <= {high}"
        value = self.take(key, expected, default)
        if value is not default and (not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high):
            raise self.error(key, expected, shown(value))
        return value

    def number(self, key: str, default: Any = REQUIRED, low: float = 0.0, high: float = float("inf")) -> float:
        """Returns a number in [low, high]."""
        expected = f"a number in [{low:g}, {high:g}]"
        value = self.take(key, expected, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, expected, shown(value))
        return float(value)

    def boolean(self, key: str, default: Any = REQUIRED) -> bool:
        """Returns true or false."""
        value = self.take(key, "true or false", default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false", shown(value))
        return value

    def has(self, key: str) -> bool:
        """Whether `key` is there and no getter has asked for it yet."""
        return self._values.get(key) is not None

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns a list of strings, empty where absent."""
        value = self.take(key, "a list", [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "a list of text such as [flair, t2]", shown(value))
        return tuple(value)

    def path(self, key: str, default: Any = REQUIRED) -> Any:
        """Returns a path with $VARIABLES and ~ expanded; a relative one starts at the settings file's folder."""
        text = self.text(key, default, "a path")
        if text is default:
            return default
        expanded = Path(self._expand(key, text))
        if "\0" in str(expanded):
            raise self.error(key, "a path", shown(text))
        try:
            return Path(os.path.normpath(self.folder / expanded.expanduser()))
        except RuntimeError as error:  # ~name of nobody on this machine
            raise self.error(key, "a path", shown(text), "write the home folder itself") from error

    def finish(self) -> None:
        """Refuses keys that no getter asked for.

        Raises:
            InputError: names the first unknown key, and the known keys.
        """
        for key in self._values:
            like = difflib.get_close_matches(key, self._known, n=1)
            fix = f"did you mean {like[0]!r}?" if like else "remove it"
            raise self.error(key, "one of the keys " + ", ".join(self._known), "an unknown key", fix)

    def _expand(self, key: str, text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match["braced"] or match["bare"]
            value = os.environ.get(name) or match["default"]
            if value is None:
                raise self.error(key, f"the variable {name} of the environment", "none", "set it, or write the path")
            return value

        return _VARIABLE.sub(value_of, text)


class _Loader(yaml.SafeLoader):
    """Plain YAML, flat and without references: a few lines of references to references stand for gigabytes."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, f"*{event.anchor}: write the value itself", event.start_mark)
        if self.depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_settings(path: Path, origin: str) -> Section:
    """Reads a YAML file of at most 64 KiB, without references (`*name`).

    Args:
        path: the file.
        origin: how messages name the site and the file.

    Returns:
        Its top section.

    Raises:
        InputError: the file is missing, unreadable, too large, nested too deeply or not YAML.
    """
    try:
        content = read_bytes(path, _MOST_BYTES, "give the path of a readable site.yaml").decode("utf-8")
        values = yaml.load(content, _Loader)  # noqa: S506 (a SafeLoader)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")  # the origin names it already
        raise InputError(f"{origin}: cannot be read ({reason})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{origin}: {line}expected YAML, got an error: {problem}; mend that line") from error
    # PyYAML's constructors of dates, numbers and tagged values let their own mistakes through (2026-13-41, !!int x).
    except Exception as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{origin}: expected YAML, got a value that cannot be read: {problem}; mend it") from error
    return Section(values, origin, path.resolve().parent)
