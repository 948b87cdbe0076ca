# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of what is worth sharing: complete tables from tiny sites, and no run twice."""

import json
from pathlib import Path

import late_joiner
import pytest
import sharing

SITE = """
data: {format: phantom, subjects: 2, spatial_size: [32, 32], slices: {step: 3}}
split: {train: 0.5, validation: 0, test: 0.5, by: volume}
mask: {kind: random, acceleration: 3, centre_fraction: 0.2}
cache: {folder: cache}
"""


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "sites" / name).mkdir(parents=True)
        (tmp_path / "sites" / name / "site.yaml").write_text(SITE)
    return tmp_path / "sites"


def test_every_variant_has_a_row(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "1", "--channels", "2"]
    sharing.main([*options, "--shared_layers", "none", "all"])
    first = capsys.readouterr().out
    assert "none round 1/1" in first
    sharing.main([*options, "--shared_layers", "none", "all"])
    again = capsys.readouterr().out
    assert "round" not in again and again.split() == first[first.index("Test PSNR") :].split()
    assert [line.split()[0] for line in again.splitlines() if line][1:] == ["none", "all"]


def test_the_contrastive_term_of_a_cascade_changes_what_is_learned(sites: Path, tmp_path: Path) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "2", "--channels", "2"]
    options += ["--local_epochs", "3"]  # the term has no part in a round's first step
    scores = []
    for weights in ([], ["0", "0", "0", "0"], ["1e4", "0", "0", "0"]):
        more = ["--contrastive_weights", *weights] if weights else []
        sharing.main([*options, "--shared_layers", "encoder", *more])
        (new,) = set((tmp_path / "w").glob("*.json")) - {path for path, _ in scores}
        scores.append((new, json.loads(new.read_text())))
    without, zero, strong = (score for _, score in scores)
    assert without == zero != strong


def test_soft_data_consistency_has_a_row(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "1", "--channels", "2"]
    for kind in ("hard", "soft"):
        sharing.main([*options, "--shared_layers", "none", "--data_consistency", kind])
    hard, soft = (part.split()[-4:] for part in capsys.readouterr().out.split("Test PSNR")[1:])
    assert hard != soft


def test_moments_that_begin_anew_change_what_is_learned(sites: Path, tmp_path: Path) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "2", "--channels", "2"]
    for more in ([], ["--reset_optimizer"]):
        sharing.main([*options, "--shared_layers", "encoder", *more])
    kept, reset = (json.loads(path.read_text()) for path in sorted((tmp_path / "w").glob("*.json"), key=str))
    assert kept != reset


def test_a_member_alone_learns_as_with_nothing_shared(sites: Path, tmp_path: Path) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "1", "--channels", "2"]
    sharing.main([*options, "--shared_layers", "none"])
    sharing.main([*options, "--shared_layers", "all", "--members", "two"])
    both, alone = (
        json.loads(next((tmp_path / "w").glob(f"sharing-{name}-*.json")).read_text()) for name in ("none", "all")
    )
    assert alone == {"two": both["two"]}
    with pytest.raises(SystemExit):
        sharing.main([*options, "--members", "three"])


def test_others_are_tested_on_the_patient_of_a_site_that_did_not_train(
    sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "1", "--channels", "2"]
    sharing.main([*options, "--shared_layers", "encoder.0,encoder.1", "--unseen", "two"])
    table = capsys.readouterr().out.split("Test PSNR (dB) on two")[1]
    assert table.splitlines()[0].split() == ["one", "mean"]
    assert table.splitlines()[1].split()[0] == "encoder.0,encoder.1"
    with pytest.raises(SystemExit):
        sharing.main([*options, "--unseen", "three"])


def test_a_late_joiner_starts_from_what_the_others_share(
    sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sites", str(sites), "--workspace", str(tmp_path / "w"), "--num_rounds", "1", "--channels", "2"]
    late_joiner.main([*options, "--joiner", "two"])
    told = capsys.readouterr().out
    assert "from nothing" in told and "from the shared encoders" in told and "is reached after" in told
