# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The page's building blocks. Text arguments are escaped here; arguments named ``*html`` are HTML already."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from flare_mri.report.figures import INK, Style

_SHAPES = {
    "o": '<circle cx="21" cy="8" r="4"/>',
    "s": '<path d="M17 4h8v8h-8z"/>',
    "^": '<path d="M21 3l5 9H16z"/>',
    "v": '<path d="M21 13l5-9H16z"/>',
    "D": '<path d="M21 3l5 5-5 5-5-5z"/>',
    "*": '<path d="M21 2l1.6 4.2 4.4.2-3.4 2.8 1.2 4.3-3.8-2.4-3.8 2.4 1.2-4.3L15 6.4l4.4-.2z"/>',
    "P": '<path d="M19 3h4v3h3v4h-3v3h-4v-3h-3V6h3z"/>',
    "X": '<path d="M17 3l4 3 4-3 1 2-3 3 3 3-1 2-4-3-4 3-1-2 3-3-3-3z"/>',
}


def section(anchor: str, heading: str, body_html: str) -> str:
    """A card of the page."""
    return f'<section id="{anchor}" aria-labelledby="{anchor}-h"><h2 id="{anchor}-h">{escape(heading)}</h2>\n{body_html}\n</section>'  # noqa: E501


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is a style class."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def details(summary: str, body_html: str) -> str:
    """A part that is folded until asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{body_html}\n</details>"


class Cell:
    """A table cell: a number, perhaps with a smaller line under it, perhaps the best of its column."""

    def __init__(self, text: str, below: str = "", best: bool = False, prose: bool = False):
        kind = "best" if best else "text" if prose else ""
        tag = '<span class="tag">★ best</span>' if best else ""
        small = f"<small>{escape(below)}</small>" if below else ""
        self.html = f"<td{_class(kind)}>{tag}{escape(text)}{small}</td>"


def table(caption: str, header: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]], kind: str = "wide") -> str:
    """A table with a heading for every column and row, that scrolls by itself where the screen is narrow.

    The caption stands outside of what scrolls, so that it can be read whole.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(cell.html for cell in cells)}</tr>' for name, cells in rows
    )
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}"><table aria-label="{escape(caption)}"{_class(kind)}>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></figure>"
    )


def settings_table(caption: str, settings: dict[str, Any]) -> str:
    """Names and values of a nested dictionary, with dotted names."""
    rows = [(name, [Cell(value, prose=True)]) for name, value in _flatten(settings)]
    return table(caption, ("Name", "Value"), rows, kind="prose") if rows else ""


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        pairs = [_flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
        return [pair for part in pairs for pair in part]
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    words = {None: "not set", True: "yes", False: "no", "": "not set"}
    return [(prefix, words[value] if isinstance(value, bool | None) or value == "" else str(value))] if prefix else []


def picture(png: bytes, alt: str, heading: str, below: str) -> str:
    """An image panel with its name above and a short line below."""
    data = base64.b64encode(png).decode("ascii")
    note = f"<figcaption>{escape(below)}</figcaption>" if below else ""
    name = f"<strong>{escape(heading)}</strong>" if heading else ""
    return f'{name}<img alt="{escape(alt)}" src="data:image/png;base64,{data}">{note}'


def chart(svg: bytes, label: str, heading: str = "", kind: str = "") -> str:
    """A figure with an SVG that takes the page's ink and letters."""
    name = f"<h3>{escape(heading)}</h3>" if heading else ""
    return f"<figure{_class(kind)}>{name}{inline_svg(svg, label)}</figure>"


def inline_svg(svg: bytes, label: str) -> str:
    """Makes matplotlib's SVG part of the page.

    Drops what only a file of its own needs (prolog, name spaces, metadata, size, family of letters, a style sheet
    that would hold for the whole page) and makes ids its own, since two charts may share them.

    Args:
        svg: As :mod:`flare_mri.report.figures` makes it.
        label: What the chart shows, for those who do not see it; unlike any other chart's of the page.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s+(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening)
    opening = opening.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" stroke-linejoin="round"', 1)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', rest))
    rest = re.sub(r'\s+id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", rest)
    own = hashlib.sha256(label.encode()).hexdigest()[:8]
    rest = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{own}-", rest)
    # matplotlib 3.9 writes the short form, later ones the long
    rest = re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1system-ui, sans-serif", rest)
    rest = re.sub(r"font-family: [^;\"]*", "font-family: inherit", rest)
    return f"{opening}>{rest}".replace(INK, "currentColor").strip()


def legend(styles: dict[str, Style], lines: bool) -> str:
    """Names with their colour, dash (for line charts) and marker."""
    items = []
    for name, style in styles.items():
        dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
        line = f'<path d="M0 8h42" stroke="{style.colour}" stroke-width="3"{dash}/>' if lines else ""
        mark = f'<g fill="{style.colour}">{_SHAPES[style.marker]}</g>'
        items.append(f'<li><svg viewBox="0 0 42 16" aria-hidden="true">{line}{mark}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'
