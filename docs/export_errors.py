# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""docs/reference/errors.md: every message that asks a person to correct something, read from the source.

A message is the text of an ``InputError``, or of a ``ValueError`` of a settings' check, as the code writes it. Its last
part, after a semicolon, says what to do. ``make schemas`` writes the page.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import flare_mri

_PACKAGE = Path(flare_mri.__file__).parent
_ERRORS = ("InputError", "MissingExtraError", "RefusedError", "ValueError", "ArgumentTypeError")
_ESCAPED = re.compile(r"[\\`*<|\[\]]|(?<!\w)_|_(?!\w)")  # what Markdown would take for its own
_FILLED = re.compile(r"\*[^*]*\*")
_HEAD = """# Errors, each with its fix

The messages by which flare-mri asks for a correction, made by `make schemas` from the source. A message is one
line: where, what was expected, what came; then what to do. Search this page for a few of its words; in *italics* stands
what a message fills in: names, paths, values. Those of settings begin with file and key. Where nothing more is to be
said, give what is expected. A program that ends with such a line has exit code 2 and changed nothing; in a job the line
stands in the hospital's own `kit/flare_mri.log`. What goes on when machines, processes and connections fail stands in
[when something fails](../how-to/when-something-fails.md).
"""
_TITLES = {
    "io": "Files of images and labels",
    "config": "Settings",
    "datasets": "Volumes, splits, cache",
    "transforms": "Masks and transforms",
    "physics": "Coils and k-space",
    "networks": "Networks",
    "methods": "Methods",
    "training": "Training at a site, and its store",
    "parallel": "Several processes at a site",
    "routing": "Routing and routing spaces",
    "flare": "Jobs, servers and messages",
    "inference": "Models on new scans",
    "bundle": "MONAI bundles",
    "report": "Reports",
    "deploy": "Kits and policies",
    "program": "Commands",
    "metrics": "Scores",
    "": "Everywhere",
}


class Message(NamedTuple):
    """A message and what to do, with what is filled in in italics."""

    told: str
    fix: str


def errors_page() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for name, title in _TITLES.items():
        files = (_PACKAGE / name).rglob("*.py") if name else _PACKAGE.glob("*.py")
        parts += [f"## {title}", *filter(None, map(_part, sorted(files)))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _part(file: Path) -> str:
    """A module's messages, each once, in the order of its lines; empty where it has none."""
    tree = ast.parse(file.read_text())
    inside = file.relative_to(_PACKAGE.parent)
    module = importlib.import_module(".".join(inside.with_suffix("").parts).removesuffix(".__init__"))
    messages = list(dict.fromkeys(_Reader(module).read(tree)))
    if not messages:
        return ""
    about = (ast.get_docstring(tree) or "").partition("\n")[0].replace("``", "`")
    rows = ["| message | what to do |", "| --- | --- |"]
    rows += [f"| {told} | {fix} |" for told, fix in messages]
    return f"**`{inside.relative_to(_PACKAGE.name)}`**: {about}\n\n" + "\n".join(rows)


class _Reader:
    """Reads the messages of a module, whose constants stand in them as their values."""

    def __init__(self, module: ModuleType):
        self.module = module

    def read(self, tree: ast.Module) -> Iterator[Message]:
        """The messages in the order of the lines."""
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            text = " ".join(self._text(call.args[0]).split())
            if _called(call) == "ValueError" and not text.startswith("expected"):
                continue  # not a settings' check: caught, and told by an InputError
            if _called(call) in _ERRORS and len(_FILLED.sub("", text).split()) > 2:
                told, _, fix = text.rpartition("; ")
                yield Message(told, "as the message says" if fix == "*fix*" else fix) if told else Message(text, "")

    def _text(self, node: ast.expr) -> str:
        """The text of an expression, with what is filled in in italics."""
        if isinstance(node, ast.Constant):
            return _ESCAPED.sub(r"\\\g<0>", str(node.value))
        if isinstance(node, ast.JoinedStr):
            return "".join(self._text(part) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return self._text(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._text(node.left) + self._text(node.right)
        if isinstance(node, ast.IfExp):
            return " or ".join(dict.fromkeys((self._text(node.body), self._text(node.orelse))))
        value = getattr(self.module, node.id, None) if isinstance(node, ast.Name) else None
        if isinstance(value, str | int | float):
            return self._text(ast.Constant(value))
        return f"*{_name(node)}*"


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


_OF = {"name", "stem", "parent", "shape", "dtype", "kind", "size", "ndim", "file", "path"}


def _name(node: ast.expr) -> str:
    """What is filled in, in a word or two, after the names in the source."""
    match node:
        case ast.Attribute(value=ast.Call(), attr="__name__"):
            return "type"
        case ast.Attribute(value=ast.Name(id=owner), attr=attr) if attr in _OF and owner != "self":
            return f"{attr} of {_words(owner)}"
        case ast.Attribute(attr=attr):
            return _words(attr)
        case ast.Name(id=name):
            return _words(name)
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
            return _name(value)
        case ast.Call(func=func, args=[first, *_]):
            called = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
            return f"number of {_name(first)}" if called == "len" else _name(first)
        case ast.Call(func=ast.Attribute(value=value)):
            return _name(value)
        case ast.GeneratorExp() | ast.ListComp() | ast.SetComp():
            return _name(node.generators[0].iter)
        case ast.BinOp(left=left, right=right):
            return _name(right if isinstance(left, ast.Constant) else left)
        case ast.BoolOp(values=[first, *_]):
            return _name(first)
    return "…"


def _words(name: str) -> str:
    return name.strip("_").replace("_", " ")
