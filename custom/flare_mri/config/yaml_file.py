# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Strict reading of a settings file: every key known, of the right type and in range, or one line says why not."""

from pathlib import Path
from typing import Any

import yaml

from flare_mri.config.base import show_value
from flare_mri.errors import InputError
from flare_mri.files import read_bytes

_MOST_BYTES = 2**16
_DEEPEST = 16  # lists and mappings within each other


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


def read_yaml(path: Path, origin: str) -> dict[str, Any]:
    """Reads a YAML file of at most 64 KiB, without references (`*name`).

    Args:
        path: the file.
        origin: how messages name the site and the file.

    Returns:
        Its keys and values; a key of text for each.

    Raises:
        InputError: the file is missing, unreadable, too large, nested too deeply, not YAML or no mapping.
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
        raise InputError(f"{origin}: {line}expected YAML, got an error: {problem}; correct that line") from error
    # PyYAML's constructors of dates, numbers and tagged values let their own mistakes through (2026-13-41, !!int x).
    except Exception as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{origin}: expected YAML, got a value that cannot be read: {problem}; correct it") from error
    return check_mapping(values, origin, "the file")


def check_mapping(values: Any, origin: str, name: str) -> dict[str, Any]:
    """A mapping of text, once it is one; keys whose value is null are left out, as if they were not there.

    Raises:
        InputError: something else.
    """
    if not isinstance(values, dict):
        raise InputError(
            f"{origin}: {name}: expected a mapping 'key: value', got {show_value(values)}; write it as one"
        )
    for key in values:
        if not isinstance(key, str):
            raise InputError(f"{origin}: {show_value(key)}: expected a key of text, got a value; put it in quotes")
    return {key: value for key, value in values.items() if value is not None}
