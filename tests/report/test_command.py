# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri report."""

from flare_mri.report.command import main
from flare_mri.report.results import save_results
from report_page import Page


def test_command_prints_and_writes(results, stores, tmp_path, capsys):
    file = save_results(results, tmp_path / "results.json")
    out = tmp_path / "out" / "report.html"
    assert main([str(file), "--stores", str(stores), "--out", str(out), "--examples", "1", "--metric", "ssim"]) == 0
    printed = capsys.readouterr().out
    assert "SSIM, test data" in printed and str(out) in printed
    assert Page(out.read_text()).tags["img"] == 3 * 7


def test_command_answers_bad_input_with_one_line(results, tmp_path, capsys):
    path = save_results(results, tmp_path / "results.json")
    for arguments in (["none.json"], [str(path), "--stores", "no folder"], [str(path), "--examples", "0"]):
        assert main([*arguments, "--out", str(tmp_path / "report.html")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert main([str(path), "--out", str(path / "report.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
