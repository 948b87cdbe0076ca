# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What `make docs` makes of docstrings and links; that all pages and links hold, its strict build says."""

from types import SimpleNamespace
from typing import Any, cast

from builder.docstrings import to_markdown
from builder.pages import on_page_markdown

DOCSTRING = r"""Mixes by :func:`flare_mri.routing.mixing.mix` with :math:`W_b`, where

.. math::
    W_b = \sum_e r_{b,e} W_e

are kernels.

Example:
    >>> mix(1)
"""


def turned(page: str, link: str) -> str:
    given = cast(Any, SimpleNamespace(file=SimpleNamespace(src_uri=page)))
    return on_page_markdown(f"[a]({link})", given, cast(Any, None), cast(Any, None))


def test_docstrings_become_markdown() -> None:
    text = to_markdown(DOCSTRING)
    assert "by `mix` with <span><math " in text and text.count("</math>") == 2 and 'display="block"' in text
    assert ":math:" not in text and ".. math" not in text and "\nare kernels." in text
    assert "Examples:\n    >>> mix(1)" in text


def test_links_of_the_repository_lead_into_the_site() -> None:
    assert turned("how-to/a.md", "../../SECURITY.md#reporting") == "[a](../SECURITY.md#reporting)"
    assert turned("how-to/a.md", "../reference/methods.md") == "[a](../reference/methods.md)"
    assert turned("CONTRIBUTING.md", "README.md#what-is-where") == "[a](about.md#what-is-where)"
    assert turned("about.md", "docs/README.md") == "[a](README.md)"
    assert turned("README.md", "https://monai.io") == "[a](https://monai.io)"
