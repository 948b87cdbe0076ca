# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of robust averages: a whole table from tiny sites, and no cell twice."""

from pathlib import Path

import pytest
import robust_aggregation

SITE = """
data: {format: phantom, subjects: 2, spatial_size: [32, 32], slices: {step: 3}}
split: {train: 0.5, validation: 0, test: 0.5, by: volume}
cache: {folder: cache}
batch_size: 4
"""


def test_every_average_meets_every_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 6):
        (tmp_path / "sites" / f"site-{number}").mkdir(parents=True)
        (tmp_path / "sites" / f"site-{number}" / "site.yaml").write_text(SITE)
    options = ["--sites", str(tmp_path / "sites"), "--workspace", str(tmp_path / "w"), "--num_rounds", "1"]
    options += ["--channels", "2", "--averages", "mean", "krum"]
    robust_aggregation.main(options)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if ": Dice" in line]) == 2 * 5
    robust_aggregation.main(options)
    again = capsys.readouterr().out.splitlines()
    assert again == lines[-len(again) :] and [line.split()[0] for line in again[3:]] == ["mean", "krum"]
