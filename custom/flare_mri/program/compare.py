# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One table and page of several runs: methods, their settings and seeds, and a paired test over volumes.

Runs of a method with the same settings are one row, with mean and standard deviation over its seeds; rows say in which
network, loss or other setting they differ. Only sites that all runs have are compared. With the site stores of these
runs each row is tested against one of them: Wilcoxon's signed rank test of the differences at the same test volumes,
two-sided, with Holm's correction. Scores of single volumes never leave a hospital, so a hospital tests by its own
store, and a lead by those of a simulation.

examples:
  flare-mri compare runs/*/results.json
  flare-mri compare runs/*/results.json --against FedAvg --out compare.html
  flare-mri compare runs/*/results.json --stores ~/.local/share/flare-mri/workspace/stores --against local-only
  flare-mri compare runs/*/results.json --json > compare.json

Exit codes are those of flare-mri.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_mri.config.cli import Parser
from flare_mri.config.results import BASELINES
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import MISSING, Metric
from flare_mri.report.comparable import comparison_notes, why_unranked
from flare_mri.report.comparison import Comparison, at_common_sites, group_runs, read_runs
from flare_mri.report.examples import find_examples
from flare_mri.report.extra import check_report_extra
from flare_mri.report.paired import PairedTest, compare_pairs, find_scores
from flare_mri.report.results import chosen_metrics, summary_table
from flare_mri.report.scores import collect
from flare_mri.report.tables import Cell, Table, describe_run, table_of
from flare_mri.report.volume_scores import Volumes, find_volume_scores

_DEFAULT = "FedAvg"
_NO_STORES = (
    "No paired test: scores of single volumes stay in the hospitals' stores. Give --stores where these are at hand; a "
    "hospital does so with its own."
)
_ADVICE = (
    "A pair is a test volume, with its mean difference over the seeds of both rows. Volumes of one patient are counted "
    "as if they were of several; p says how surprising the differences would be by chance, not how large they are."
)
_OF_ROWS = ("Row", "Network", "Loss", "Seeds", "Jobs")
_HEADER = ("Row", "Volumes", "Median difference", "Better at", "p", "p (Holm)", "Note")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri compare", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of several runs")
    parser.add_argument("--against", metavar="METHOD", help=f"row that others are tested against (default: {_DEFAULT})")
    parser.add_argument("--metric", action="append", default=[], help="metric to compare (default: the main one)")
    stores = "folder in or under which <job>/<site> of the runs' site stores lie; may be given several times"
    parser.add_argument("--stores", action="append", default=[], type=Path, metavar="DIR", help=stores)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a page; needs pip install flare-mri[report]")
    parser.add_argument("--examples", type=int, default=2, help="test slices shown a site (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def choose_reference(comparison: Comparison, named: str | None) -> str:
    """The row that others are tested against: the one that is named, FedAvg's, or the first.

    Raises:
        InputError: no such row.
    """
    if named is not None:
        return comparison.find_row(named)
    return next((row.label for row in comparison.rows if row.runs[0].method == _DEFAULT), comparison.rows[0].label)


def paired_table(tests: Sequence[PairedTest], against: str, metric: Metric) -> Table:
    """The tests of one metric."""
    rows = []
    for test in tests:
        median = MISSING if test.median is None else metric.difference(test.median, 0.0)
        cells = [str(test.pairs), median, f"{test.better} of {test.pairs}", _p(test.p), _p(test.adjusted)]
        rows.append((test.row, (*map(Cell, cells), Cell(test.note, prose=True))))
    caption = f"{metric.heading} of single volumes against {against}: Wilcoxon signed rank, two-sided"
    return Table(caption, _HEADER, tuple(rows))


def _p(value: float | None) -> str:
    return MISSING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def seeds_table(comparison: Comparison) -> Table:
    """What each row is made of."""
    rows = []
    for row in comparison.rows:
        network, loss = describe_run(row.runs[0].entry)
        seeds = ", ".join(str(run.seed) for run in row.runs)
        jobs = ", ".join(run.entry["job"] for run in row.runs)
        rows.append((row.label, [network or MISSING, loss or MISSING, seeds, jobs]))
    return table_of("Rows; curves by round and pictures are of the first seed", _OF_ROWS, rows)


def plain(
    comparison: Comparison, metrics: Sequence[Metric], against: str, tests: Mapping[str, Sequence[PairedTest]]
) -> dict[str, Any]:
    """All of it for JSON."""
    told: dict[str, Any] = {"against": against, "rows": {}, "scores": {}, "paired": {}}
    for row in comparison.rows:
        network, loss = describe_run(row.runs[0].entry)
        runs = [{"seed": run.seed, "job": run.entry["job"], "file": str(run.file)} for run in row.runs]
        told["rows"][row.label] = {"method": row.runs[0].method, "network": network, "loss": loss, "runs": runs}
    for metric in metrics:
        scores, spread = collect(comparison.results, metric), comparison.spread(metric)
        told["scores"][metric.key] = {
            name: {
                "mean": scores.mean(name),
                "sd": spread.get((name, None)),
                "sites": {site: {"mean": value, "sd": spread.get((name, site))} for site, value in by_site.items()},
            }
            for name, by_site in scores.values.items()
        }
    told["paired"] = {key: [test.numbers for test in found] for key, found in tests.items()}
    return told


def as_text(shown: Table) -> str:
    """A table for terminals."""
    rows = [shown.header, *((name, *(cell.text for cell in cells)) for name, cells in shown.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True)), row[-1]]
        )
        for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    return "\n".join([shown.caption, lines[0], "-" * max(map(len, lines)), *lines[1:]])


def write_page(comparison: Comparison, args: argparse.Namespace, tests: list[Table], notes: list[str]) -> Path:
    """The page.

    Raises:
        InputError: as of a report.
    """
    from flare_mri.report.html import Compared, write_report  # matplotlib takes a second

    stores: dict[str, dict[str, Path]] = {}
    volumes: dict[str, dict[str, Volumes]] = {}
    for row in comparison.rows if args.stores else ():
        run = row.runs[0]
        found = find_examples({"methods": {run.method: run.entry}}, args.stores, needed=False)
        stores |= {row.label: found[run.method]} if run.method in found else {}
        of_run = find_volume_scores({"methods": {run.method: run.entry}}, args.stores)
        for name, by_site in of_run.items():
            label = name if name in BASELINES.values() else row.label + name.removeprefix(run.method)
            volumes.setdefault(label, by_site)
    compared = Compared(comparison.spread, seeds_table(comparison), tests, notes)
    return write_report(comparison.results, stores, args.out, args.examples, volumes, compared)


def main(argv: Sequence[str]) -> int:
    """Compares; returns 0, or 2 after a line on stderr where an input is wrong."""
    args = build_parser().parse_args(argv)
    try:
        runs, left_out = at_common_sites(read_runs(args.results))
        comparison = Comparison(group_runs(runs))
        metrics = chosen_metrics(comparison.results, args.metric)
        against = choose_reference(comparison, args.against)
        if args.out:
            check_report_extra("--out")
        scores = find_scores(comparison, args.stores)
        rows = [row for row in comparison.table_rows() if row not in BASELINES.values()]
        tests = {metric.key: compare_pairs(scores, rows, against, metric) for metric in metrics} if args.stores else {}
        shown = [paired_table(tests[metric.key], against, metric) for metric in metrics if tests and len(rows) > 1]
        notes = [_ADVICE] if tests else [_NO_STORES]
        if left_out:
            told = "; ".join(f"{', '.join(sites)} of {run}" for run, sites in left_out.items())
            notes.insert(0, f"Compared at the sites that all runs have. Left out: {told}.")
        warnings = comparison_notes(comparison.results)
        warnings += [why] if (why := why_unranked(comparison.results)) and why not in warnings else []
        page = write_page(comparison, args, shown, notes) if args.out else None
        table = summary_table(comparison.results, *(metric.key for metric in metrics), spread=comparison.spread)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(plain(comparison, metrics, against, tests) | {"left_out": left_out}, indent=2))
    else:
        print("\n\n".join([table, *map(as_text, [*shown, seeds_table(comparison)]), *notes, *warnings]))
    if page is not None:
        print(f"page: {page.resolve()}", file=sys.stderr if args.json else sys.stdout)
    return 0
