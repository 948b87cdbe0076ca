# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""MkDocs hook: the pages at the top of the repository as pages of the site, and links that lead there or out of docs.

Links in the pages are those of the repository, so that they work where the repository is read.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_REPOSITORY = Path(__file__).parents[2]
_SAME = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "SECURITY.md")
_TOP = {"README.md": "about.md"} | {name: name for name in _SAME}
"""Files at the top of the repository -> their names in the site, where README.md is the index of docs."""
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files at the top of the repository."""
    for name, here in _TOP.items():
        files.append(File.generated(config, here, abs_src_path=str(_REPOSITORY / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository to places in the site; a strict build refuses one that is not there."""
    here = page.file.src_uri
    source = next((top for top, name in _TOP.items() if name == here), f"docs/{here}")

    def turn(link: re.Match[str]) -> str:
        target = normpath(str(PurePosixPath(source).parent / link[1]))
        place = _TOP.get(target) or target.removeprefix("docs/")
        return f"]({relpath(place, str(PurePosixPath(here).parent))}{link[2] or ''})"

    return _LINK.sub(turn, markdown)
