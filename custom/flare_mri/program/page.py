# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A page and a contact sheet of a site's own data, to look at; they stay at the site."""

import base64
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from flare_mri.atomic_file import write_atomically
from flare_mri.config.segmentation import ORGAN
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.survey import ScanFacts
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.program.findings import Findings, TaskFindings, summarise, tell_mm
from flare_mri.report import figures
from flare_mri.report.colours import TRUTH_COLOUR, choose_colours
from flare_mri.report.images import overlay_panel
from flare_mri.report.numbers import downloads, table_rows
from flare_mri.report.tables import Table, table_of

PAGE, SHEET = "index.html", "contact-sheet.png"

_WIDTH, _CAPTION, _GAP = 240, 34, 6  # pixels of a panel of the sheet
_COLUMNS, _ROWS = 6, 10
_LINE = 16  # pixels of a line of text
_LEGEND = "Slices are counted from 1. R, L, A, P, H, F: the patient's right, left, front, back, head and feet."
_LETTERS = 36  # that fit beside each other above a panel
_TEMPLATES = Environment(
    loader=ChoiceLoader([PackageLoader("flare_mri.program"), PackageLoader("flare_mri.report")]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Panel(NamedTuple):
    """A slice of a scan: PNG bytes, the scan's name, words below, and all of it in words."""

    png: bytes
    name: str
    words: str
    alt: str


def check_page_folder(folder: Path) -> None:
    """Refuses a folder that holds a page already, before anything is read.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for the page, got a file; choose another path")
    for name in (PAGE, SHEET):
        if (folder / name).exists():
            raise InputError(f"{folder / name}: expected a folder without a page, got this file; choose another folder")


def write_page(found: Findings, folder: Path) -> None:
    """Writes the page and the contact sheet, for their owner alone (mode 0600, a folder that is made 0700).

    Args:
        found: at the site, with pictures.
        folder: for the two; made where it is missing. More than 60 scans need further sheets.

    Raises:
        InputError: the folder cannot be written to, or the files are there.
    """
    organs = find_colours(found.config)
    tasks = {name: [_panel(one, organs) for one in findings.facts] for name, findings in found.tasks.items()}
    sheets = draw_sheets([panel for panels in tasks.values() for panel in panels])
    page = _TEMPLATES.get_template("data.html").render(
        site=found.config.site,
        settings=str(found.config.file),
        problems=found.problems,
        notes=found.notes,
        tasks=[
            {
                "name": name,
                "panels": [[picture] for picture in _embed(tasks[name])],
                "tables": (shown := _tables(findings)),
                "downloads": downloads(f"scans-{name}", table_rows(shown[-1])),
            }
            for name, findings in found.tasks.items()
        ],
        organs=organs,
        light_card=figures.LIGHT_CARD,
        dark_card=figures.DARK_CARD,
    )
    if not folder.exists():
        private_folder(folder, "--page")
    write_atomically(folder / PAGE, page, mode=0o600, replace=False)
    for number, sheet in enumerate(sheets):
        name = SHEET if not number else SHEET.replace(".png", f"-{number + 1}.png")
        write_atomically(folder / name, sheet, mode=0o600, replace=False)


def find_colours(config: SiteConfig) -> dict[str, str]:
    """Organ -> colour of its outline."""
    names = list(config.data.find_labels() or (ORGAN,))
    if len(names) == 1:
        return {names[0]: TRUTH_COLOUR}
    own = getattr(config.data, "colours", {})  # a phantom has none
    return choose_colours({name: own.get(name, "") for name in names})


def _panel(one: ScanFacts, organs: dict[str, str]) -> Panel:
    assert one.picture is not None
    number, total, image, label, edges = one.picture
    truth = label if label is not None else image.astype("uint8") * 0
    words = [f"slice {number} of {total}", "x".join(map(str, one.shape))]
    words += [f"{organ.ml:.3g} ml" for organ in (one.organs or {}).values() if organ.ml is not None][:1]
    outlined = f", outlined: {', '.join(marked)}" if (marked := _marked(one)) else ""
    alt = f"Scan {one.scan.name}: {words[0]}, {words[1]}{outlined}"
    png = overlay_panel(image, truth, None, organs, width=_WIDTH * 2, edges=edges)
    return Panel(png, one.scan.name, ", ".join(words), alt)


def _marked(one: ScanFacts) -> list[str]:
    """The organs of a scan with their sizes."""
    return [
        f"{organ} {facts.ml:.3g} ml" if facts.ml is not None else f"{organ} {facts.voxels} voxels"
        for organ, facts in (one.organs or {}).items()
        if facts.voxels
    ]


def draw_sheets(panels: Sequence[Panel]) -> list[bytes]:
    """Contact sheets as PNG bytes, of at most 60 panels each."""
    many = _COLUMNS * _ROWS
    return [_draw_sheet(panels[start : start + many]) for start in range(0, len(panels), many)]


def _draw_sheet(panels: Sequence[Panel]) -> bytes:
    pictures = [Image.open(io.BytesIO(panel.png)).convert("RGB") for panel in panels]
    for picture in pictures:
        picture.thumbnail((_WIDTH, _WIDTH), Image.Resampling.LANCZOS)
    columns = min(_COLUMNS, len(panels))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) + _CAPTION + _GAP for row in rows]
    legend = textwrap.wrap(_LEGEND, columns * _LETTERS)
    below = sum(heights) + _GAP
    sheet = Image.new("RGB", (columns * (_WIDTH + _GAP) + _GAP, below + len(legend) * _LINE + _GAP), "#101418")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for line, text in enumerate(legend):
        draw.text((_GAP, below + line * _LINE), text, "#aab6c2", font)
    for number, (picture, panel) in enumerate(zip(pictures, panels, strict=True)):
        row, column = divmod(number, columns)
        left, top = _GAP + column * (_WIDTH + _GAP), _GAP + sum(heights[:row])
        draw.text((left, top), panel.name[-_LETTERS:], "#ffffff", font)
        draw.text((left, top + _CAPTION // 2 - 1), panel.words[:_LETTERS], "#aab6c2", font)
        sheet.paste(picture, (left + (_WIDTH - picture.width) // 2, top + _CAPTION))
    target = io.BytesIO()
    sheet.save(target, "PNG", optimize=True)
    return target.getvalue()


def _embed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    return [
        {
            "heading": panel.name,
            "alt": panel.alt,
            "png": base64.b64encode(panel.png).decode(),
            "below": panel.words,
        }
        for panel in panels
    ]


def _tables(findings: TaskFindings) -> list[Table]:
    told = summarise(findings)
    organs = told.pop("organs", {})
    rows = [(key, [_words(value)]) for key, value in told.items()]
    tables = [table_of("All scans", ("What", "Found"), rows, "prose")]
    if organs:
        keys = list(dict.fromkeys(key for organ in organs.values() for key in organ))
        shown = [(name, [_words(organ.get(key, "")) for key in keys]) for name, organ in organs.items()]
        tables.append(table_of("Organs: lowest, median and highest", ("organ", *keys), shown, "prose"))
    header = ("scan", "patient", "part", "size", "mm", "axes", "lowest", "median", "99 %", "highest", "organs")
    return [*tables, table_of("Every scan", header, [_row(one, findings) for one in findings.facts])]


def _row(one: ScanFacts, findings: TaskFindings) -> tuple[str, list[str]]:
    name = one.scan.name
    return name, [
        findings.patients[name],
        ", ".join(findings.parts[name]),
        "x".join(map(str, one.shape)),
        "" if one.spacing is None else tell_mm(one.spacing),
        one.codes,
        *(f"{value:.4g}" for value in one.intensities),
        ", ".join(_marked(one)),
    ]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
