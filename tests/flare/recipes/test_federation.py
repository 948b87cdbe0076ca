# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Whole jobs in one process, from the exported JSON, through FLARE's serialisation: identities and privacy."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import ReturnCode

from conftest import TINY, write_site
from federation import Federation, state_in, weights_in
from flare_mri.errors import InputError
from flare_mri.flare.protocol import METRIC_NAME, tensors_in
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.networks.state_check import norm_of
from flare_mri.training import TrainingSettings

TRAINING = TrainingSettings(lr=1e-3)


def run(root: Path, sites: list[str], method: str = "FedMRI", rounds: int = 3, **options: Any) -> Federation:
    keys = {"fresh", "tamper"}
    recipe_options = {"network": TINY, "training": TRAINING, "min_clients": len(sites)}
    recipe_options |= {k: v for k, v in options.items() if k not in keys}
    recipe = FedMRIRecipe(method=method, num_rounds=rounds, include_code=False, **recipe_options)
    federation = Federation(recipe, sites, root, **{k: v for k, v in options.items() if k in keys})
    federation.results = federation.run()
    return federation


def scores(federation: Federation) -> dict[str, Any]:
    run = next(iter(federation.results["methods"].values()))
    return {site: (entry["test"], entry["best"]) for site, entry in run["sites"].items()}


def final(federation: Federation) -> dict[str, torch.Tensor]:
    return federation.saved[-1]["params"]


def sibling(tmp_path: Path, sites: list[str], name: str, cache: Path) -> Path:
    """A second, equal set of sites for a run to compare with."""
    root = tmp_path / name
    for site in sites:
        write_site(root / site, cache)
    return root


def test_results_are_complete(tmp_path: Path, sites: list[str]) -> None:
    federation = run(tmp_path, sites, negatives="all")
    assert not federation.panics
    method = federation.results["methods"]["FedMRI"]
    assert method["seed"] == 0 and method["settings"]["shared_layers"] == "encoder"
    assert federation.results["versions"]["torch"] == torch.__version__
    for site in sites:
        entry = method["sites"][site]
        assert {"nmse", "psnr", "ssim", "volume_psnr"} == entry["test"].keys() == entry["zero_filled"].keys()
        assert 0 <= entry["best"]["round"] < 3 and entry["best"]["test"]
        assert entry["data"]["train"] > 0 and entry["phantom"] is True
    encoder = sum(v.numel() * 4 for v in final(federation).values())
    for number, row in enumerate(method["rounds"]):
        for site in sites:
            assert row["sites"][site]["bytes_sent"] == encoder
            assert row["sites"][site]["bytes_received"] == encoder * (1 + (len(sites) if number else 0))
            assert row["sites"][site]["validation"]["psnr"] > 0 and "test" not in row["sites"][site]


def test_every_message_holds_encoder_keys_and_metrics_only(tmp_path: Path, sites: list[str]) -> None:
    federation = run(tmp_path, sites)
    assert {task for _, task, _ in federation.sent} == {"check", "train", "validate"}
    for _, task, message in federation.sent:
        assert message.get_return_code() == ReturnCode.OK
        dxo = from_shareable(message)
        assert all(key.startswith("encoder.") for key in weights_in(message))
        assert bool(weights_in(message)) == (task == "train")
        metrics = dxo.data if dxo.data_kind == "METRICS" else dxo.meta["initial_metrics"]
        assert metrics and all(METRIC_NAME.match(k) and isinstance(v, float) for k, v in metrics.items())
        assert set(dxo.meta) <= {"initial_metrics"}
        everything = list(tensors_in(dict(message)))
        assert len(everything) == len(weights_in(message)), "a tensor outside the shared part"


def test_decoders_differ_and_stay_at_their_sites(tmp_path: Path, sites: list[str]) -> None:
    run(tmp_path, sites)
    states = [state_in(tmp_path / site / "site_store", "fedmri", site, 2) for site in sites]
    decoders = [state["network"]["decoder.output.weight"] for state in states]
    assert len(decoders) == 3 and not any(torch.equal(decoders[0], other) for other in decoders[1:])
    assert all(not k.startswith("encoder.") for state in states for k in state["network"])


def test_a_fresh_process_for_every_task_changes_nothing(tmp_path: Path, sites: list[str], cache: Path) -> None:
    one = run(tmp_path, sites, fresh=False)
    other = run(sibling(tmp_path, sites, "other", cache), sites, fresh=True)
    assert scores(one) == scores(other)
    assert all(torch.equal(v, final(other)[k]) for k, v in final(one).items())


def test_contrastive_weight_zero_is_plain_encoder_sharing(tmp_path: Path, sites: list[str], cache: Path) -> None:
    zero = run(tmp_path, sites, contrastive_weight=0.0)
    plain = run(sibling(tmp_path, sites, "plain", cache), sites, "encoder-sharing")
    term = run(sibling(tmp_path, sites, "term", cache), sites)
    assert all(torch.equal(v, final(plain)[k]) for k, v in final(zero).items())
    assert any(not torch.equal(v, final(plain)[k]) for k, v in final(term).items())


def test_everything_shared_is_fedavg(tmp_path: Path, sites: list[str]) -> None:
    """The global model is the mean of what the sites sent, round by round, and all sites end with it."""
    federation = run(tmp_path, sites, "FedAvg", rounds=2)
    for number, saved in enumerate(federation.saved):
        sent = [weights_in(m) for _, task, m in federation.sent if task == "train"][3 * number : 3 * number + 3]
        for key, value in saved["params"].items():
            torch.testing.assert_close(value, torch.stack([s[key] for s in sent]).mean(0), rtol=1e-6, atol=1e-7)
    assert "decoder.output.bias" in final(federation)


def test_one_site_is_local_training(tmp_path: Path, sites: list[str], cache: Path) -> None:
    alone = run(tmp_path, sites[:1], "FedAvg")
    local = run(sibling(tmp_path, sites, "local", cache), sites[:1], "local-only")
    assert scores(alone) == scores(local)


def test_nothing_shared_is_local_training(tmp_path: Path, sites: list[str], cache: Path) -> None:
    together = run(tmp_path, sites, "local-only")
    assert not any(weights_in(message) for _, _, message in together.sent)
    for site in sites:
        alone = run(sibling(tmp_path, sites, f"alone-{site}", cache), [site], "local-only")
        assert scores(alone)[site] == scores(together)[site]


@pytest.mark.parametrize("negatives", ["own", "none"])
def test_without_foreign_negatives_no_site_receives_another_sites_weights(
    tmp_path: Path, sites: list[str], negatives: str
) -> None:
    federation = run(tmp_path, sites, negatives=negatives)
    rows = federation.results["methods"]["FedMRI"]["rounds"]
    encoder = sum(v.numel() * 4 for v in final(federation).values())
    assert {entry["bytes_received"] for row in rows for entry in row["sites"].values()} == {encoder}


@pytest.mark.parametrize("number, size", [("bfloat16", 1 / 2), ("int8", 1 / 4)])
def test_rounded_negatives_save_bytes_and_keep_the_result_close(
    tmp_path: Path, sites: list[str], cache: Path, number: str, size: float
) -> None:
    full = run(tmp_path, sites, negatives="all")
    less = run(sibling(tmp_path, sites, "less", cache), sites, negatives="all", negatives_dtype=number)
    received = [f.results["methods"]["FedMRI"]["rounds"][1]["sites"]["site-1"]["bytes_received"] for f in (full, less)]
    scales = 4 * 3 * len(final(full)) if number == "int8" else 0
    assert received[1] - scales == received[0] * (1 + 3 * size) / (1 + 3)
    for key, value in final(full).items():
        torch.testing.assert_close(final(less)[key], value, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("method", ["FedAvg", "SCAFFOLD"])  # which sends control variates besides
def test_rounded_updates_save_bytes_and_keep_the_result_close(
    tmp_path: Path, sites: list[str], cache: Path, method: str
) -> None:
    full = run(tmp_path, sites, method)
    less = run(sibling(tmp_path, sites, "less", cache), sites, method, update_dtype="int8")
    assert not less.panics
    for entry in less.results["methods"][method]["rounds"][2]["sites"].values():
        assert entry["bytes_sent"] < 0.3 * entry["bytes_received"]
    moved, apart = (
        norm_of(v - other.saved[place]["params"][k] for k, v in final(full).items())
        for other, place in ((full, 0), (less, -1))
    )
    assert apart < 0.25 * moved
    owed = state_in(less.root / "site-1" / "site_store", "fedmri", "site-1", 2)["left_over"]
    assert owed.keys() >= final(less).keys() and any(v.any() for v in owed.values())


def test_noise_of_a_privacy_filter_is_not_rounded() -> None:
    with pytest.raises(InputError, match="update_dtype: expected float32 with privacy, got int8"):
        FedMRIRecipe(network=TINY, privacy="svt", update_dtype="int8")


def test_sites_may_have_different_decoders_and_not_different_encoders(tmp_path: Path, sites: list[str]) -> None:
    federation = run(tmp_path, sites, rounds=2, site_networks={"site-2": {"decoder": "refined"}})
    assert not federation.panics and set(scores(federation)) == set(sites)
    states = {s: state_in(tmp_path / s / "site_store", "fedmri", s, 1) for s in sites}
    refined = [site for site, state in states.items() if "decoder.refine.weight" in state["network"]]
    assert refined == ["site-2"]
    with pytest.raises(InputError, match="site-3.*changes what is shared"):
        FedMRIRecipe(network=TINY, site_networks={"site-3": {"channels": 8}})


def test_fedprox_pulls_towards_the_global_model(tmp_path: Path, sites: list[str], cache: Path) -> None:
    def moved(federation: Federation) -> float:
        first = [weights_in(m) for _, task, m in federation.sent if task == "train"][3]
        return sum(float((first[k] - v).square().sum()) for k, v in federation.saved[0]["params"].items())

    free = run(tmp_path, sites, "FedAvg", rounds=2)
    held = run(sibling(tmp_path, sites, "held", cache), sites, "FedProx", rounds=2, fedprox_mu=10.0)
    assert moved(held) < moved(free)
