# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a lead types becomes the job that was meant."""

import argparse
import json
import runpy
from pathlib import Path

import pytest

from conftest import TINY
from flare_mri.executors.site import open_site
from flare_mri.recipes import FedMRIRecipe
from flare_mri.recipes.arguments import add_training_arguments
from flare_mri.recipes.simulate import stores_path

ROOT = Path(__file__).parents[2]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser, FedMRIRecipe)
    return parser.parse_args(words)


@pytest.mark.parametrize("sites, expected", [([], ["@ALL"]), (["a", "b"], ["server", "a", "b"])])
def test_named_sites_bind(tmp_path: Path, sites: list[str], expected: list[str]) -> None:
    recipe = FedMRIRecipe(network=TINY, min_clients=2, include_code=False)
    recipe.sites = sites
    recipe.export(str(tmp_path))
    assert json.loads((tmp_path / "fedmri" / "meta.json").read_text())["deploy_map"] == {"app": expected}


@pytest.mark.parametrize("job", ["fedmri", "iopfl", "iopfl_outside"])
def test_help_tells_every_default(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsers: list[argparse.ArgumentParser] = []
    parse_args = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda s, *a: parsers.append(s) or parse_args(s, *a))
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / "jobs" / job / "job.py"))["main"](["--help"])
    text = " ".join(capsys.readouterr().out.split())
    told = [action for action in parsers[0]._actions if isinstance(action.default, int | float | str | Path)]
    for action in told:
        if (
            isinstance(action.default, bool)
            or argparse.SUPPRESS in (action.default, action.help)
            or action.default == ""
        ):
            continue
        assert "default" in (action.help or ""), action.dest
        assert f"default {action.default}" in text, action.dest


def test_resume_takes_the_name() -> None:
    args = parse("--resume", "old")
    assert args.resume is True and args.name == "old"
    assert parse().resume is False


def test_resume_under_another_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--name", "new", "--resume", "old")
    assert "--name new with --resume old: a resumed job keeps its name" in capsys.readouterr().err


def test_broken_json_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--privacy", "svt", "--privacy_arguments", "{noise_var: 1}")
    assert "expected JSON such as" in capsys.readouterr().err


def test_what_is_printed_of_the_stores_is_where_the_sites_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named, expected in (("", tmp_path / "w" / "stores"), (str(tmp_path / "elsewhere"), tmp_path / "elsewhere")):
        monkeypatch.setenv("FLARE_MRI_STORE", named)
        assert stores_path(tmp_path / "w") == expected
        monkeypatch.setenv("FLARE_MRI_STORE", str(stores_path(tmp_path / "w")))
        assert open_site("site-1", tmp_path / "site-1").store_root == expected
