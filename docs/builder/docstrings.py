# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Griffe extension: the reStructuredText of docstrings as Markdown; equations as MathML, which browsers draw alone."""

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

_ROLE = re.compile(r":(?:class|func|mod|meth|data|attr):`~?([^`]+)`")
_INLINE = re.compile(r":math:`([^`]+)`")
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)  # which Griffe takes in the plural alone
_BLOCK = re.compile(r"^( *)\.\. math::(.*(?:\n(?:\1 +.*|\s*)(?=\n|\Z))*)", re.MULTILINE)


class MarkdownDocstrings(griffe.Extension):
    """Runs on every object that has a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replace the text of the object's docstring."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Markdown of a docstring: names in code, equations as MathML."""
    text = _EXAMPLE.sub(r"\1Examples:", text)
    text = _BLOCK.sub(_show_block, text)
    # in a span, for Python-Markdown takes a line that begins with math for a paragraph of its own
    text = _INLINE.sub(lambda found: f"<span>{_show(found[1], 'inline')}</span>", text)
    return _ROLE.sub(lambda found: f"`{found[1].rsplit('.', 1)[-1]}`", text)


def _show_block(found: re.Match[str]) -> str:
    equation = textwrap.dedent(found[2]).strip()
    return f"{found[1]}{_show(equation, 'block')}\n"


def _show(equation: str, display: str) -> str:
    return convert(" ".join(equation.split()), display=display)
