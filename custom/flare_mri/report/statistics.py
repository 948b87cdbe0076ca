# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A page of the statistics of all sites' data: histograms to compare, and what each site told or held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.app_constant import StatisticsConstants as StC

from flare_mri.atomic_file import write_atomically
from flare_mri.config.statistics import DATASET, FEATURE, INTENSITY, StatisticsFile, describe_feature, place_of
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.metrics.metric_table import MISSING
from flare_mri.report import figures
from flare_mri.report.comparable import natural
from flare_mri.report.figures import Style, inline_svg
from flare_mri.report.histograms import histogram_chart
from flare_mri.report.html import TEMPLATES
from flare_mri.report.sections import Chart
from flare_mri.report.tables import Cell, Table

_MOST_BYTES = 2**24
_FIX = "give the statistics.json that a job site_statistics wrote"
_AIR = 3  # first bins of intensities, which hold what is around the patient and would flatten all others
Values = dict[str, dict[str, Any]]
"""statistic -> site or Global -> value, of one feature."""


def load_statistics(path: Path) -> StatisticsFile:
    """Reads and checks a ``statistics.json``.

    Raises:
        InputError: the file is missing, unreadable or of another format.
    """
    found = StatisticsFile.read(read_json(path, _MOST_BYTES, _FIX), str(path))
    for feature, statistics in found.statistics.items():
        if not FEATURE.match(feature):
            raise InputError(f"{path}: statistics: expected features of this version, got {feature!r:.80}; {_FIX}")
        for statistic, sites in statistics.items():
            for site, sets in sites.items():
                _check_value(f"{path}: statistics.{feature}.{statistic}.{site!r:.80}", statistic, sets.get(DATASET))
    return found


def write_statistics_page(found: StatisticsFile, out: Path) -> Path:
    """Writes the page, for its owner alone (mode 0600); returns its path."""
    sites = sorted(found.sites, key=natural)
    styles = {site: figures.style(index) for index, site in enumerate(sites)}
    features = {
        name: {statistic: {site: sets[DATASET] for site, sets in of.items()} for statistic, of in statistics.items()}
        for name, statistics in sorted(found.statistics.items(), key=lambda item: place_of(item[0]))
    }
    page = TEMPLATES.get_template("statistics.html").render(
        job=found.job,
        created=found.created,
        sites=sites,
        styles=styles,
        silent=[site for site in sites if not any(site in values["count"] for values in features.values())],
        patients=_patients(features),
        charts=[chart for name, values in features.items() if (chart := _draw(name, values, sites, styles))],
        numbers=_tabulate(features, sites),
        versions=found.versions,
        light_card=figures.LIGHT_CARD,
        dark_card=figures.DARK_CARD,
    )
    write_atomically(out, page, mode=0o600)
    return out


def _patients(features: dict[str, Values]) -> int:
    return max((int(values["count"].get(StC.GLOBAL, 0)) for values in features.values()), default=0)


def _tabulate(features: dict[str, Values], sites: list[str]) -> Table:
    """Means and deviations, a row for each feature and a column for each site."""
    rows = []
    for name, values in features.items():
        cells = []
        for site in [*sites, StC.GLOBAL]:
            count, mean, deviation = (values.get(key, {}).get(site) for key in ("count", "mean", "stddev"))
            spread = f" ± {deviation:.3g}" if deviation else ""
            below = "" if count is None else f"{count:.0f} patients" if count != 1 else "1 patient"
            below += "" if count is None or site in values.get("histogram", {}) else ", no histogram"
            cells.append(Cell(MISSING if mean is None else f"{mean:.4g}{spread}", below))
        title, unit = describe_feature(name)
        rows.append((title if unit == "number" else f"{title} ({unit})", tuple(cells)))
    caption = f"Mean and standard deviation over patients; {MISSING}: the site has none, or holds it back"
    return Table(caption, ("", *sites, "All sites"), tuple(rows))


def _draw(name: str, values: Values, sites: list[str], styles: dict[str, Style]) -> Chart | None:
    """The histograms in percent of each site's patients, of intensities of their voxels; none where there is none."""
    found = values.get("histogram", {})
    if StC.GLOBAL not in found or not values.get("stddev", {}).get(StC.GLOBAL):
        return None  # nobody told, or all patients are alike
    title, unit = describe_feature(name)
    bins = {site: np.array(found[site], dtype=float) for site in [*sites, StC.GLOBAL] if site in found}
    edges = np.array([*bins[StC.GLOBAL][:, 0], bins[StC.GLOBAL][-1, 1]])
    shares = {site: 100 * rows[:, 2] / max(rows[:, 2].sum(), 1e-9) for site, rows in bins.items()}
    together = shares.pop(StC.GLOBAL)
    of_what, most = "patients", None
    if name == INTENSITY:
        of_what, most = "voxels", 1.1 * max(part[_AIR:].max() for part in (*shares.values(), together))
    svg = histogram_chart(edges, shares, together, styles, (unit, f"{of_what} of a site (%)"), most)
    told = ", ".join(f"{site} mean {values['mean'][site]:.4g}" for site in shares)
    return Chart(title, inline_svg(svg, f"Histograms of {title}, {unit}: {told}"))


def _check_value(where: str, statistic: str, value: Any) -> None:
    """Raises InputError for what is no number, or no histogram."""
    if statistic == StC.STATS_HISTOGRAM:
        fits = isinstance(value, list) and value and all(_is_bin(one) for one in value)
    else:
        fits = _is_number(value)
    if not fits:
        raise InputError(f"{where}: expected {'bins' if statistic == StC.STATS_HISTOGRAM else 'a number'}; {_FIX}")


def _is_bin(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 3 and all(map(_is_number, one)) and one[0] < one[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
