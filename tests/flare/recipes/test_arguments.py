# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that a lead types become the job that was meant."""

import argparse
import json
import os
import runpy
from pathlib import Path
from typing import get_args

import pytest
import torch

from conftest import TINY
from federation import build
from flare_mri.config.server import ServerSettings
from flare_mri.config.training import TrainingSettings
from flare_mri.config.where import add_consortium_arguments, add_environment_arguments
from flare_mri.errors import InputError
from flare_mri.flare.executors.site import open_site, use_threads
from flare_mri.flare.filters.update_privacy import MECHANISMS
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.flare.recipes.simulate import build_environment, stores_path
from flare_mri.methods.systems import FEDMRI, IOPFL
from flare_mri.program.training_arguments import add_training_arguments, recipe_arguments

ROOT = Path(__file__).parents[3]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser, FEDMRI)
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


@pytest.mark.parametrize(("sites", "expected"), [(1, "8"), (4, "2"), (12, "1")])
def test_numbers_do_not_depend_on_how_many_sites_compute_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites: int, expected: str
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    parser = argparse.ArgumentParser()
    parser.set_defaults(name="fedmri")
    add_environment_arguments(parser)
    for threads in ("1", "2", "4"):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        environment = build_environment(
            parser.parse_args(["--n_clients", str(sites), "--threads", threads, "--workspace", str(tmp_path)])
        )
        assert os.environ["OMP_NUM_THREADS"] == expected
        assert environment.num_threads == min(sites, int(threads))  # type: ignore[attr-defined]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    build_environment(parser.parse_args(["--workspace", str(tmp_path)]))
    assert os.environ["OMP_NUM_THREADS"] == "3", "who sets it knows why"


def test_entropy_reduction_reaches_the_executor(tmp_path: Path) -> None:
    for given, expected in ([], "mean"), (["--entropy_reduction", "published"], "published"):
        module = runpy.run_path(str(ROOT / "jobs" / "iopfl_outside" / "job.py"))
        recipe = module["build_recipe"](module["parse_args"]([*given, "--no_code"]))
        recipe.export(str(tmp_path / expected))
        folder = tmp_path / expected / "iopfl_outside" / "app" / "config"
        executor = build(json.loads((folder / "config_fed_client.json").read_text())["executors"][0]["executor"])
        assert executor._settings.entropy_reduction == expected
        server = json.loads((folder / "config_fed_server.json").read_text())
        assert server["workflows"][0]["args"]["settings"]["entropy_reduction"] == expected


def test_a_site_may_say_how_many_threads_compute(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    settings = tmp_path / "local" / "site.yaml"
    settings.parent.mkdir()
    try:
        for text, expected in (("", before), ("compute_threads: 3\n", 3)):
            settings.write_text(f"data: {{format: phantom}}\n{text}")
            use_threads(open_site("site-1", tmp_path).config)
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_resume_takes_the_name() -> None:
    args = parse("--resume", "old")
    assert args.resume is True and args.name == "old"
    assert parse().resume is False


def test_initial_weights_lie_on_this_machine_or_on_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    taken = []
    for where in (add_environment_arguments, add_consortium_arguments):
        parser = argparse.ArgumentParser()
        where(parser)
        parser.set_defaults(n_clients=1)
        add_training_arguments(parser, FEDMRI)
        args = parser.parse_args(["--initial_weights", "model.pt", "--clients", "site-1"])
        taken.append(recipe_arguments(args, FEDMRI)["initial_weights"])
    assert taken == [str(tmp_path / "model.pt"), "model.pt"]


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


BASIC = "monai.networks.nets.BasicUNet"


@pytest.mark.parametrize(
    ("job", "words", "name", "arguments"),
    [
        ("fedmri", [], "UnrolledNetwork", {"num_cascades": 4, "regulariser_args": {"channels": 16, "num_pools": 3}}),
        (
            "fedmri",
            ["--channels", "8", "--norm", "batch", "--num_cascades", "2", "--decoder", "refined"],
            "UnrolledNetwork",
            {
                "num_cascades": 2,
                "regulariser_args": {"channels": 8, "num_pools": 3, "norm": "batch", "decoder": "refined"},
            },
        ),
        (
            "fedmri",
            ["--network_args", '{"regulariser_args": {"dropout": 0.5}, "data_consistency": "cg"}', "--channels", "4"],
            "UnrolledNetwork",
            {"data_consistency": "cg", "regulariser_args": {"channels": 4, "num_pools": 3, "dropout": 0.5}},
        ),
        (
            "fedmri",
            ["--network_args", '{"regulariser": "monai.networks.nets.BasicUNet"}'],
            "UnrolledNetwork",
            {"num_cascades": 4, "regulariser": "monai.networks.nets.BasicUNet"},
        ),
        (
            "fedmri",
            ["--network", "UNet"],
            "UNet",
            {"channels": 32, "num_pools": 4, "norm": "instance", "decoder": "plain"},
        ),
        ("fedmri", ["--network", "DualDomainUNet", "--decoder", "refined"], "DualDomainUNet", {"decoder": "refined"}),
        (
            "fedmri",
            ["--network", "UNet", "--network_args", '{"dropout": 0.5}'],
            "UNet",
            {"dropout": 0.5, "channels": 32},
        ),
        ("fedmri", ["--network", BASIC], "BasicUNet", {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}),
        ("iopfl", [], "UNet", {"norm": "batch", "in_channels": 3, "channels": 32}),
        ("iopfl", ["--network", BASIC], "BasicUNet", {"spatial_dims": 2, "in_channels": 3, "out_channels": 2}),
        (
            "iopfl",
            ["--network", BASIC, "--network_args", '{"in_channels": 3, "norm": "batch"}'],
            "BasicUNet",
            {"in_channels": 3, "out_channels": 2, "norm": "batch"},
        ),
    ],
)
def test_the_network_is_what_the_flags_say(
    tmp_path: Path, job: str, words: list[str], name: str, arguments: dict
) -> None:
    module = runpy.run_path(str(ROOT / "jobs" / job / "job.py"))
    module["build_recipe"](module["parse_args"]([*words, "--no_code"])).export(str(tmp_path))
    config = json.loads((tmp_path / job / "app" / "config" / "config_fed_client.json").read_text())
    network = config["executors"][0]["executor"]["args"]["network"]
    assert network["path"].rpartition(".")[2] == name and network["args"].items() >= arguments.items()


@pytest.mark.parametrize(
    ("job", "words", "told"),
    [
        ("fedmri", ["--network", BASIC, "--channels", "32"], f"--channels with network {BASIC}: it has none"),
        ("fedmri", ["--network", BASIC, "--decoder", "plain"], f"--decoder with network {BASIC}: it has none"),
        ("fedmri", ["--network", BASIC, "--refined_at", "site-1"], f"--refined_at with network {BASIC}: it has none"),
        ("fedmri", ["--network", "UNet", "--num_cascades", "3"], "--num_cascades with network flare_mri.networks.unet"),
        (
            "fedmri",
            ["--channels", "8", "--network_args", f'{{"regulariser": "{BASIC}"}}'],
            f"--channels with network {BASIC}: it has none",
        ),
        (
            "fedmri",
            ["--channels", "8", "--network_args", '{"regulariser_args": {"channels": 8}}'],
            "channels is what --channels says already",
        ),
        ("iopfl", ["--network", BASIC, "--norm", "batch"], f"--norm with network {BASIC}: it has none"),
        ("iopfl", ["--norm", "batch", "--network_args", '{"norm": "batch"}'], "norm is what --norm says already"),
        ("fedmri", ["--network_args", "[1]"], "--network_args: expected a JSON object"),
    ],
)
def test_flags_that_contradict_each_other_are_one_line(
    job: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runpy.run_path(str(ROOT / "jobs" / job / "job.py"))["main"](words) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and "\n" not in error


def test_a_setting_of_another_method_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "jobs" / "fedmri" / "job.py"))["main"]
    assert main(["--method", "Ditto", "--fedprox_mu", "1"]) == 2
    error = capsys.readouterr().err.strip()
    assert "fedprox_mu: method Ditto takes ditto_lambda; it is of FedProx; leave it out" in error


@pytest.mark.parametrize("option", ["--fedprox_mu 1e9", "--lr 7", "--clip_norm 0.5", "--min_sites 0"])
def test_a_value_out_of_range_is_one_line(option: str) -> None:
    module = runpy.run_path(str(ROOT / "jobs" / "fedmri" / "job.py"))
    with pytest.raises(InputError) as caught:
        module["build_recipe"](module["parse_args"](["--method", "FedProx", "--no_code", *option.split()]))
    assert f"{option.split()[0].removeprefix('--')}: expected " in str(caught.value) and "\n" not in str(caught.value)


def test_privacy_filters_are_flare_s() -> None:
    assert set(get_args(get_args(ServerSettings.model_fields["privacy"].annotation)[0])) == set(MECHANISMS)


def test_what_a_job_alone_shows_to_be_impossible_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="classical: expected none for segmentation"):
        IOPFLRecipe(training=TrainingSettings(classical=True), include_code=False)
    unet = {"path": "flare_mri.networks.UNet", "args": {"channels": 4}}
    with pytest.raises(
        InputError, match="loss: expected mse, l1 or l1_ssim for flare_mri.networks.unet.UNet, got 'ssdu'"
    ):
        FedMRIRecipe(network=unet, training=TrainingSettings(loss="ssdu"), include_code=False)


def test_organs_and_patches_are_lists_of_words() -> None:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser, IOPFL)
    args = parser.parse_args(["--organs", "liver", "kidney", "--patch_size", "8", "16", "32"])
    assert (args.organs, args.patch_size) == (["liver", "kidney"], [8, 16, 32])
    settings = TrainingSettings.read({"organs": args.organs, "patch_size": args.patch_size}, "command line")
    assert settings.plan().model_dump() == {"organs": ("liver", "kidney"), "patch_size": (8, 16, 32)}
    for bad in (["liver", "liver"], ["a b"], []):
        with pytest.raises(InputError, match="organs"):
            TrainingSettings.read({"organs": bad}, "command line")
    with pytest.raises(InputError, match="patch_size: expected none for reconstruction"):
        FedMRIRecipe(training=FedMRIRecipe.system.training.model_copy(update={"patch_size": (8, 8, 8)}))
