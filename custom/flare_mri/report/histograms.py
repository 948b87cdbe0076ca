# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Histograms of all sites in one chart, to be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flare_mri.report.figures import INK, Style, inked, make_axes, write_svg

_DASHES = {"": "solid", "10 4": (0, (5, 2)), "3 3": (0, (1.5, 1.5)), "12 4 3 4": (0, (6, 2, 1.5, 2))}


def histogram_chart(
    edges: np.ndarray,
    shares: dict[str, np.ndarray],
    together: np.ndarray,
    styles: dict[str, Style],
    labels: Sequence[str],
    most: float | None = None,
) -> bytes:
    """Outlines of the sites' histograms over that of all sites together, which is filled.

    Args:
        edges: [B + 1], of the bins.
        shares: site -> [B] in %.
        together: [B] in %, of all sites.
        styles: site -> style.
        labels: of the horizontal and the vertical axis.
        most: upper end of the vertical axis in %; None: as the values need.

    Returns:
        SVG bytes.
    """
    with inked(11):
        figure, axes = make_axes(4.4, 3.0)
        axes.stairs(together, edges, fill=True, color=INK, alpha=0.13, linewidth=0)
        for site, values in shares.items():
            look = styles[site]
            axes.stairs(values, edges, color=look.colour, linestyle=_DASHES[look.dash], linewidth=1.8, baseline=None)
        axes.grid(color=INK, alpha=0.12, linewidth=0.8)
        axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(edges[0], edges[-1]), ylim=(0, most))
        return write_svg(figure)
