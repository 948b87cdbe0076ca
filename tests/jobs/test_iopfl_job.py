# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""jobs/iopfl and jobs/iopfl_outside through FLARE itself: both jobs in a row, and the committed folder."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import write_site
from flare_mri.networks import build_network
from flare_mri.routing.space import RoutingSpace, save_routing_space
from simulation import NVFLARE, REPO, export_module, prepare, run, small_copy

JOB = REPO / "jobs" / "iopfl" / "job.py"
SITES = ["site-1", "site-2"]
SITE_ROWS = ["global model, site statistics", "mean of all predictions, site statistics"]
ROWS = ["global model", "mean of all predictions", *SITE_ROWS]
ROWS += ["mean of the predictions weighted as the mix", "matched mix"]


def methods_of(results: Path) -> dict[str, Any]:
    return json.loads(results.read_text())["methods"]


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str]:
    """`python jobs/iopfl/job.py --outside site-1,site-2`, four FLARE jobs: the workspace and what was printed."""
    root = tmp_path_factory.mktemp("leave-one-out")
    for site in SITES:
        write_site(root / "sites" / site, cache)
        (root / "sites" / site / "local" / "site.yaml").rename(root / "sites" / site / "site.yaml")
    arguments = ["--num_rounds", "1", "--channels", "4", "--num_pools", "2", "--epochs", "1"]
    arguments += ["--sites", root / "sites", "--workspace", root, "--outside", ",".join(SITES)]
    return root, run(sys.executable, JOB, *arguments)


@pytest.mark.slow
def test_every_site_left_out_trains_the_others_and_is_adapted_to(left_out: tuple[Path, str]) -> None:
    root, _ = left_out
    for outside in SITES:
        inside = [site for site in SITES if site != outside]
        trained = methods_of(root / f"iopfl-without-{outside}" / "server" / "simulate_job" / "results.json")["IOP-FL"]
        assert list(trained["sites"]) == inside and len(trained["rounds"]) == 1
        for site in trained["sites"].values():
            assert (
                {"slice_dice", "dice", "hd95", "false_slices"} == site["test"].keys() == site["personal"]["test"].keys()
            )
        routed = methods_of(root / f"iopfl-outside-{outside}" / "server" / "simulate_job" / "results.json")
        assert list(routed) == [*(f"personal model of {site}" for site in inside), *ROWS]
        entry = routed["matched mix"]["sites"][outside]
        assert entry["routing"]["experts"] == [*inside, "global"] and entry["entropy"]


@pytest.mark.slow
def test_one_table_over_all_sites_left_out(left_out: tuple[Path, str]) -> None:
    root, printed = left_out
    merged = methods_of(root / "iopfl-outside" / "results.json")
    for row in ROWS:
        assert list(merged[row]["sites"]) == SITES
    assert list(merged["personal model of site-1"]["sites"]) == ["site-2"], "no model of the site itself"
    for heading in ("Slice Dice, test data", "Dice, test data", "HD95 (mm), test data"):
        assert heading in printed
    for outside in SITES:
        own = methods_of(root / f"iopfl-outside-{outside}" / "server" / "simulate_job" / "results.json")
        for row in ROWS:
            assert merged[row]["sites"][outside] == own[row]["sites"][outside]


@pytest.mark.slow
def test_committed_folder_takes_the_space_from_the_server_s_environment(
    left_out: tuple[Path, str], tmp_path: Path, cache: Path
) -> None:
    root, _ = left_out
    space = root / "iopfl-without-site-2" / "server" / "simulate_job" / "routing_space.safetensors"
    job = small_copy(tmp_path, "iopfl_outside", ["--clients", "site-2", "--epochs", "1"])
    workspace = prepare(tmp_path / "w", ["site-2"], cache)
    command = [NVFLARE, "simulator", job, "-w", workspace, "-c", "site-2", "-t", "1"]
    run(*command, cwd=tmp_path, FLARE_MRI_ROUTING_SPACE=str(space))
    routed = methods_of(workspace / "server" / "simulate_job" / "results.json")
    by_job_py = methods_of(root / "iopfl-outside-site-2" / "server" / "simulate_job" / "results.json")
    for method, entry in by_job_py.items():
        assert routed[method]["sites"]["site-2"]["test"] == entry["sites"]["site-2"]["test"]


@pytest.mark.slow
@pytest.mark.deploy
def test_server_refuses_a_damaged_space_in_one_line(left_out: tuple[Path, str], tmp_path: Path, cache: Path) -> None:
    root, _ = left_out
    space = root / "iopfl-without-site-2" / "server" / "simulate_job" / "routing_space.safetensors"
    damaged = changed(space, tmp_path / "damaged.safetensors")
    job = small_copy(tmp_path, "iopfl_outside", ["--clients", "site-2", "--epochs", "1"])
    workspace = prepare(tmp_path / "w", ["site-2"], cache)
    command = [NVFLARE, "simulator", job, "-w", workspace, "-c", "site-2", "-t", "1"]
    log = run(*command, cwd=tmp_path, check=False, FLARE_MRI_ROUTING_SPACE=str(damaged))
    assert any(f"{damaged}: checksum does not match" in line for line in log.splitlines())
    assert "Traceback" not in log
    assert not (workspace / "server" / "simulate_job" / "results.json").exists()


def changed(space: Path, copy: Path) -> Path:
    """A copy of a routing space with one bit of a weight turned."""
    content = bytearray(space.read_bytes())
    content[-2] ^= 0x10
    copy.write_bytes(content)
    return copy


def of_other_network(folder: Path) -> Path:
    """A space whose experts belong to another network than the one it names."""
    network = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
    experts = {name: {"encoder.weight": torch.zeros(4)} for name in ("site-1", "global")}
    save_routing_space(folder / "other.safetensors", RoutingSpace(network, experts))
    return folder / "other.safetensors"


WRONG = {
    "missing": (lambda folder: folder / "nowhere.safetensors", "nowhere.safetensors: no such file"),
    "damaged": (lambda folder: changed(of_other_network(folder), folder / "bad"), "bad: checksum does not match"),
    "other network": (of_other_network, "routing space, site-1: decoder.blocks.0.0.weight: is missing"),
    "no path": (lambda folder: "", "routing space: no path; give it with --routing_space"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_a_wrong_space_costs_one_line_before_flare_starts(
    make: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLARE_MRI_ROUTING_SPACE", raising=False)
    arguments = ["--workspace", str(tmp_path / "w"), "--routing_space", str(make(tmp_path)), "--no_code"]
    assert export_module().load_job("iopfl_outside").main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.rglob("results.json"))


NETWORKS = {
    "no object": ("[1]", "--network_args: expected a JSON object"),
    "unknown argument": ('{"norms": 3}', "network monai.networks.nets.BasicUNet: 'norms' is no argument of it"),
}


@pytest.mark.parametrize("arguments, message", NETWORKS.values(), ids=NETWORKS)
def test_a_wrong_network_costs_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--network", "monai.networks.nets.BasicUNet", "--network_args", arguments]
    assert export_module().load_job("iopfl").main(network) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_an_outside_site_that_is_not_there_is_told_before_any_trains(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = prepare(tmp_path / "w", ["site-1", "site-2"], cache) / "local"
    arguments = ["--workspace", str(tmp_path / "w"), "--sites", str(sites), "--no_code"]
    arguments += ["--outside", "site-2,site-9", "--min_sites", "3"]
    assert export_module().load_job("iopfl").main(arguments) == 2
    assert "no site-9/site.yaml in it" in capsys.readouterr().err
    assert not list(tmp_path.rglob("results.json"))


def test_network_is_a_setting() -> None:
    job = export_module().load_job("iopfl")
    basic = '{"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "norm": "batch"}'
    described = {
        "monai": (["--network", "monai.networks.nets.BasicUNet", "--network_args", basic], "conv_0.conv_0.conv.weight"),
        "more for the U-Net": (["--network_args", '{"dropout": 0.1}'], "encoder.blocks.0.0.weight"),
    }
    for arguments, key in described.values():
        recipe = job.build_recipe(job.parse_args(["--no_code", *arguments]))
        persistor = recipe._job._deploy_map["server"].app_config.components["persistor"]
        assert key in build_network(persistor.network, seed=0).state_dict()
