# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL, inside and outside, in one process through FLARE's serialisation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import ReturnCode

from federation import Federation, state_in, weights_in
from flare_mri.config.site import load_site_config
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.flare.protocol import METRIC_NAME, tensors_in
from flare_mri.flare.recipes import IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space

NETWORK = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {
        "in_channels": 3,
        "out_channels": 2,
        "norm": "batch",
        "negative_slope": 0.0,
        "channels": 4,
        "num_pools": 2,
    },
}
BASIC = {
    "path": "monai.networks.nets.BasicUNet",
    "args": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "features": [4, 4, 8, 8, 8, 4], "norm": "batch"},
}
SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32]}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 4
"""


def settle(root: Path, names: list[str], cache: Path) -> None:
    for name in names:
        (root / name / "local").mkdir(parents=True)
        (root / name / "local" / "site.yaml").write_text(SITE_YAML.format(cache=cache))


def inside(root: Path, names: list[str], method: str = "IOP-FL", network: Any = None, **options: Any) -> Federation:
    recipe = IOPFLRecipe(
        method=method, min_clients=len(names), num_rounds=2, network=network or NETWORK, include_code=False, **options
    )
    federation = Federation(recipe, names, root)
    federation.results = federation.run()
    assert not federation.panics, federation.panics
    return federation


ROWS = {"matched": ["matched mix"], "published": ["routing before adaptation", "IOP-FL routing"]}


def outside(root: Path, space: Path, name: str = "outside-1", strategy: str = "published") -> Federation:
    recipe = IOPFLOutsideRecipe(routing_space=str(space), epochs=1, include_code=False, strategy=strategy)
    federation = Federation(recipe, [name], root)
    federation.results = federation.run()
    return federation


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Federation:
    root = tmp_path_factory.mktemp("inside")
    settle(root, ["site-1", "site-2"], cache)
    return inside(root, ["site-1", "site-2"])


def test_inside_reports_global_and_personal_models(trained: Federation) -> None:
    entry = trained.results["methods"]["IOP-FL"]
    for site in trained.sites:
        assert {"slice_dice", "dice", "hd95", "false_slices"} == entry["sites"][site]["test"].keys()
        assert entry["sites"][site]["personal"]["test"] and entry["sites"][site]["personal"]["validation"]
        first = entry["rounds"][0]["sites"][site]
        assert first["personal_validation"] and first["validation"] and not first.get("test")  # for the end alone
    trained_on = [entry["sites"][site]["data"]["train"] for site in trained.sites]
    sent = [weights_in(m) for _, task, m in trained.sent if task == "train"][:2]
    key = "decoder.output.weight"
    expected = np.average([s[key].numpy() for s in sent], axis=0, weights=trained_on)
    np.testing.assert_allclose(trained.saved[0]["params"][key].numpy(), expected, rtol=1e-5)


def test_test_volumes_are_scored_each_round_where_the_job_says_so(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["site-1", "site-2"], cache)
    training = IOPFLRecipe.system.training.model_copy(update={"test_each_round": True})
    federation = inside(tmp_path, ["site-1", "site-2"], training=training)
    for row in federation.results["methods"]["IOP-FL"]["rounds"]:
        assert all(site["test"] and site["personal_test"] for site in row["sites"].values())


def test_routing_space_holds_the_trajectories_and_the_global_model(trained: Federation) -> None:
    space = load_routing_space(trained.root / "server" / "routing_space.safetensors")
    assert list(space.experts) == ["site-1", "site-2", GLOBAL]
    assert space.network["args"]["channels"] == 4
    sites = trained.results["methods"]["IOP-FL"]["sites"]
    expected = {site: entry["personal"]["test"]["dice"] for site, entry in sites.items()}
    expected[GLOBAL] = sum(entry["test"]["dice"] for entry in sites.values()) / len(sites)
    assert space.dice == pytest.approx(expected)
    for key, value in trained.saved[-1]["params"].items():
        assert torch.equal(space.experts[GLOBAL][key], value)
    for site in trained.sites:
        store = trained.root / site / "site_store"
        state = state_in(store, "iopfl", site, 1)
        own = load_personal_model(store / "iopfl" / site / "personal.safetensors")
        scored = trained.results["methods"]["IOP-FL"]["sites"][site]["personal"]["test"]
        assert own.own_dice == pytest.approx(scored["dice"])
        assert own.build() and all(torch.equal(own.state[k], v) for k, v in state["method"]["trajectory"].items())
        assert all(torch.equal(space.experts[site][k], v) for k, v in state["method"]["trajectory"].items())


def test_rate_zero_is_the_last_local_model(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["site-1"], cache)
    recipe = IOPFLRecipe(min_clients=1, num_rounds=2, network=NETWORK, ema_decay=0.0, include_code=False)
    federation = Federation(recipe, ["site-1"], tmp_path)
    federation.run()
    local = [weights_in(m) for _, task, m in federation.sent if task == "train"][-1]
    personal = next(weights_in(m) for _, task, m in federation.sent if task == "submit_model")
    assert all(torch.equal(value, personal[key]) for key, value in local.items())


@pytest.mark.parametrize("method", ["FedAvg", "FedProx", "FedBN", "local-only"])
def test_baselines_run_and_send_no_more_than_they_share(tmp_path: Path, cache: Path, method: str) -> None:
    settle(tmp_path, ["site-1", "site-2"], cache)
    federation = inside(tmp_path, ["site-1", "site-2"], method)
    keys = {key for _, _, message in federation.sent for key in weights_in(message)}
    assert bool(keys) == (method != "local-only")
    assert any("running_mean" in key for key in keys) == (method in ("FedAvg", "FedProx"))


def test_global_model_is_that_of_fedavg(trained: Federation, tmp_path: Path, cache: Path) -> None:
    """The trajectory only watches: whoever has run IOP-FL has run FedAvg."""
    settle(tmp_path, ["site-1", "site-2"], cache)
    plain = inside(tmp_path, ["site-1", "site-2"], "FedAvg")
    assert len(plain.saved) == len(trained.saved)
    for ours, theirs in zip(trained.saved, plain.saved, strict=True):
        assert all(torch.equal(value, theirs["params"][key]) for key, value in ours["params"].items())
    for site, entry in plain.results["methods"]["FedAvg"]["sites"].items():
        assert entry["test"] == trained.results["methods"]["IOP-FL"]["sites"][site]["test"]


@pytest.mark.parametrize("strategy", ["matched", "published"])
def test_outside_site_sends_numbers_only(trained: Federation, tmp_path: Path, cache: Path, strategy: str) -> None:
    settle(tmp_path, ["outside-1"], cache)
    routed = outside(tmp_path, trained.root / "server" / "routing_space.safetensors", strategy=strategy)
    assert not routed.panics
    assert {task for _, task, _ in routed.sent} == {"check", "route"}
    for _, _, message in routed.sent:
        dxo = from_shareable(message)
        assert dxo.data_kind == "METRICS" and not set(dxo.meta) and not list(tensors_in(dict(message)))
        assert all(METRIC_NAME.match(name) and isinstance(value, float) for name, value in dxo.data.items())
    methods = routed.results["methods"]
    names = ["personal model of site-1", "personal model of site-2", "global model", "mean of all predictions"]
    names += ["global model, site statistics", "mean of all predictions, site statistics"]
    names += ["mean of the predictions weighted as the mix"]
    assert list(methods) == [*names, *ROWS[strategy]]
    assert all(0 <= entry["sites"]["outside-1"]["test"]["dice"] <= 1 for entry in methods.values())
    space = load_routing_space(trained.root / "server" / "routing_space.safetensors")
    for entry in methods.values():
        assert entry["settings"]["network"] == space.network
        assert entry["settings"]["routing_space"] == {"checksum": space.checksum, "models": list(space.experts)}
    routing = methods[ROWS[strategy][-1]]["sites"]["outside-1"]
    assert "note" in routing or np.shape(routing["routing"]["weights"])[1] == 3
    if strategy == "matched":
        assert routing["routing"]["layers"] == ["all"] and sum(routing["routing"]["weights"][0]) == pytest.approx(1)
        assert routing["routing"]["weights"][0][2] == 0  # the global model
    store = tmp_path / "outside-1" / "site_store" / "iopfl_outside" / "outside-1"
    kept = {"predictions.npz", "personal.safetensors", "examples.npz", "examples-global.npz"}
    assert kept <= {path.name for path in store.iterdir()}
    model = load_personal_model(store / "personal.safetensors")
    assert model.own_dice is not None and min(space.dice.values()) <= model.own_dice <= max(space.dice.values())
    assert model.site == "outside-1" and model.experts == (
        ("site-1", "site-2", GLOBAL) if "note" not in routing and strategy == "published" else ()
    )
    config = load_site_config(tmp_path / "outside-1" / "local" / "site.yaml", "outside-1")
    data = SegmentationData(config, seed=0)
    predicted = data.pieces(data.outside).classes(model.build(), model.batch_size)
    np.testing.assert_array_equal(predicted, np.load(store / "predictions.npz")["labels"])
    expected = np.load(store / "predictions.npz")["predicted_dice"]
    assert expected.shape == (len(predicted),) and ((expected >= 0) & (expected <= 1)).all()
    named = [str(np.load(store / f"examples{which}.npz")["method"]) for which in ("", "-global")]
    assert named == [ROWS[strategy][-1], "global model"]


@pytest.mark.parametrize("strategy", ["matched", "published"])
def test_a_site_of_three_slices_gets_the_global_model_and_is_told(
    trained: Federation, tmp_path: Path, cache: Path, strategy: str
) -> None:
    settle(tmp_path, ["outside-1"], cache)
    site_yaml = tmp_path / "outside-1" / "local" / "site.yaml"
    few = site_yaml.read_text().replace("subjects: 3", "subjects: 1, slices: {start: 4, stop: 7}")
    site_yaml.write_text(
        few.split("split:")[0] + "split: {train: 0, validation: 0, test: 1}\n" + few[few.index("cache:") :]
    )
    routed = outside(tmp_path, trained.root / "server" / "routing_space.safetensors", strategy=strategy)
    rows = {name: entry["sites"]["outside-1"] for name, entry in routed.results["methods"].items()}
    assert rows["global model"]["data"] == {"test": 3}
    for row in ROWS[strategy]:
        assert rows[row]["test"] == rows["global model"]["test"]
    assert "global model was used" in rows[ROWS[strategy][-1]]["note"]
    store = tmp_path / "outside-1" / "site_store" / "iopfl_outside" / "outside-1"
    model = load_personal_model(store / "personal.safetensors")
    assert not model.experts
    for key, value in trained.saved[-1]["params"].items():
        assert torch.equal(model.state[key], value)


def test_a_space_of_another_network_is_one_line(trained: Federation, tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["outside-1"], cache)
    space = load_routing_space(trained.root / "server" / "routing_space.safetensors")
    other = {**space.network, "args": {**space.network["args"], "channels": 8}}
    save_routing_space(tmp_path / "other.safetensors", RoutingSpace(other, space.experts))
    routed = outside(tmp_path, tmp_path / "other.safetensors")
    assert "route: no usable answer from outside-1" in routed.panics[0]
    assert routed.sent[-1][2].get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    missing = outside(tmp_path / "again", tmp_path / "nowhere.safetensors")
    assert "nowhere.safetensors: no such file" in missing.panics[0] and not missing.sent


def test_a_damaged_space_is_one_line_and_no_site_is_asked(trained: Federation, tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["outside-1"], cache)
    content = bytearray((trained.root / "server" / "routing_space.safetensors").read_bytes())
    content[-2] ^= 0x10
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content)
    routed = outside(tmp_path, damaged)
    assert len(routed.panics) == 1 and not routed.sent and not routed.results
    assert f"{damaged}: checksum does not match" in routed.panics[0] and "\n" not in routed.panics[0]


def test_a_site_without_training_volumes_cannot_train(tmp_path: Path, cache: Path, caplog: Any) -> None:
    settle(tmp_path, ["site-1", "outside-1"], cache)
    site_yaml = tmp_path / "outside-1" / "local" / "site.yaml"
    site_yaml.write_text(
        site_yaml.read_text().replace("train: 0.34, validation: 0.33, test: 0.33", "train: 0, test: 1, validation: 0")
    )
    recipe = IOPFLRecipe(min_clients=2, num_rounds=1, network=NETWORK, include_code=False)
    federation = Federation(recipe, ["site-1", "outside-1"], tmp_path)
    federation.run()
    assert "outside-1" in federation.panics[0]
    told = (tmp_path / "outside-1" / "flare_mri.log").read_text()
    assert "site outside-1: expected training slices, got none" in told and str(tmp_path) not in caplog.text


def test_monai_networks_train_and_route(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, ["site-1", "outside-1"], cache)
    trained = inside(tmp_path, ["site-1"], network=BASIC)
    space = trained.root / "server" / "routing_space.safetensors"
    routed = outside(tmp_path, space)
    assert not routed.panics and routed.results["methods"]["IOP-FL routing"]["sites"]["outside-1"]["test"]
    settle(tmp_path / "matched", ["outside-1"], cache)
    matched = outside(tmp_path / "matched", space, strategy="matched")
    assert not matched.panics and matched.results["methods"]["matched mix"]["sites"]["outside-1"]["test"]
