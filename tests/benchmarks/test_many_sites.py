# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of many sites: a table from tiny updates, a line through it, and no number of sites twice."""

import json
from pathlib import Path

import many_sites
import pytest


def test_a_line_through_two_is_compared_with_the_third(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sites", "2", "3", "5", "--parameters", "8000", "--num_rounds", "1", "--workspace", str(tmp_path)]
    many_sites.main(options)
    first = capsys.readouterr().out
    rows = json.loads((tmp_path / "many_sites.json").read_text())
    assert [key.rpartition(", ")[2] for key in rows] == ["2 sites", "3 sites", "5 sites"]
    sizes = [row["megabytes"] for row in rows.values()]
    assert all(row["seconds"] > 0 and row["memory"] > 50 for row in rows.values())
    assert sizes[0] >= 2 * 8000 * 4 / 1e6 and sizes[2] == pytest.approx(2.5 * sizes[0], rel=0.01)
    line = next(line for line in first.splitlines() if "-> 1000" in line)
    assert float(line.split()[3]) == pytest.approx(500 * sizes[0], rel=0.01)
    assert (tmp_path / "many_sites.png").stat().st_size > 10_000
    many_sites.main(options)
    assert "{" not in capsys.readouterr().out  # nothing was run again


def test_the_line_is_that_of_the_two_smallest() -> None:
    rows = {n: {"seconds": 2 + 0.5 * n, "megabytes": 0.0, "memory": 0.0} for n in (4, 16)} | {64: {"seconds": 99.0}}
    assert many_sites.fit(rows, "seconds", list(rows)) == (pytest.approx(2), pytest.approx(0.5))
