# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A written report, parsed: tags that close in order, and what tests ask for."""

from collections import Counter
from html.parser import HTMLParser

from flare_mri.report.examples import find_examples
from flare_mri.report.html import write_report
from flare_mri.report.volume_scores import find_volume_scores

VOID = {"meta", "img", "br", "path", "circle", "use", "image", "rect"}


class Page(HTMLParser):
    """Checks that tags close in order and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def make(results, stores, tmp_path, **kwargs) -> tuple[str, Page]:
    folders = [stores] if stores else []
    volumes = find_volume_scores(results, folders)
    path = write_report(results, find_examples(results, folders), tmp_path / "report.html", volumes=volumes, **kwargs)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)
