# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of data becomes a site that is checked and trained: the words of a job are those of its job.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cases import label_of, write_case
from flare_mri.flare.recipes.simulate import build_environment
from flare_mri.program.main import main
from flare_mri.program.train import COMMANDS
from flare_mri.program.train_iopfl import build_recipe, parse_args

SMALL = ["--num_rounds", "1", "--channels", "4", "--num_pools", "2", "--no_code"]


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Two sites, each with five cases, whose site.yaml was written and checked."""
    for site in ("hospital-1", "hospital-2"):
        folder = tmp_path / "sites" / site
        folder.mkdir(parents=True)
        for number in range(5):
            write_case(folder / "data", f"{site}-case{number}", label_of(1))
        settings = str(folder / "site.yaml")
        assert main(["site", "init", str(folder / "data"), "--out", settings, "--site", site]) == 0
        assert main(["site", "check", settings]) == 0
    return tmp_path / "sites"


@pytest.mark.parametrize("job", COMMANDS)
def test_help_of_each_job(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", job, "--help"])
    told = capsys.readouterr().out
    assert told.startswith(f"usage: flare-mri train {job} ") and f"\nflare-mri train {job} " in told


def test_sites_that_were_written_take_part_in_a_job_of_one_round(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parse_args([*SMALL, "--sites", str(sites), "--workspace", str(tmp_path / "w")])
    recipe = build_recipe(args)
    environment = build_environment(args)
    capsys.readouterr()
    recipe.check_sites(environment.clients, tmp_path / "w")  # type: ignore[attr-defined]
    told = capsys.readouterr().out.splitlines()
    assert told == [f"hospital-{n}: prostate; 18 train, 6 validation, 6 test slices" for n in (1, 2)]


def test_a_job_is_exported_as_by_its_job_py(tmp_path: Path) -> None:
    """FLARE takes these options out of the command line as it is imported."""
    for program, folder in (["-m", "flare_mri", "train", "fedmri"], "a"), (["jobs/fedmri/job.py"], "b"):
        words = [*program, *SMALL, "--export", "--export-dir", str(tmp_path / folder)]
        done = subprocess.run([sys.executable, *words], cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    first, other = (
        {path.relative_to(tmp_path / name): json.loads(path.read_text()) for path in (tmp_path / name).rglob("*.json")}
        for name in ("a", "b")
    )
    assert first.keys() == other.keys() and len(first) == 3
    for config in (*first.values(), *other.values()):
        config.pop("task_result_filters", None)  # FLARE lists their tasks in the order of a set
    assert first == other


@pytest.mark.slow
def test_sites_that_were_written_train(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "flare_mri", "train", "iopfl", *SMALL, "--sites", sites, "--workspace", tmp_path / "w"]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "results: " in done.stdout, done.stdout + done.stderr[-2000:]
