# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of raw k-space has the classical rows, and those that say what they are worth."""

from pathlib import Path

import pytest
import raw_reconstruction


def test_classical_rows_are_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sigpy")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sites" / "site-1").mkdir(parents=True)
    text = "data: {format: phantom, spatial_size: [32, 32], subjects: 3, coils: 4}\n"
    split = "split: {train: 0.34, validation: 0.33, test: 0.33, by: volume}\n"
    (tmp_path / "sites" / "site-1" / "site.yaml").write_text(text + split)
    raw_reconstruction.main(["--sites", str(tmp_path / "sites"), "--methods", "--workspace", str(tmp_path / "work")])
    rows = {line[:34].strip(): line[34:].split() for line in capsys.readouterr().out.splitlines()[-5:]}
    psnr = {name: float(cells[0]) for name, cells in rows.items()}
    assert list(psnr) == [
        "zero-filled",
        "CG-SENSE",
        "l1-ESPIRiT",
        "the same, output as the network's",
        "whoever knows the object",
    ]
    assert psnr["whoever knows the object"] == max(psnr.values())
