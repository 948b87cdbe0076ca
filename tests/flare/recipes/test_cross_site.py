# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Personal models at other sites: who consents gives and takes, nobody else does either."""

import copy
from pathlib import Path

import pytest
import torch
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.utils import fobs

from federation import Federation, weights_in
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.report.html import write_report
from flare_mri.training import TrainingSettings

NETWORK = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}
SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32]}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 4
cross_site: {consent}
"""
CONSENT = {"site-1": "true", "site-2": "true", "site-3": "false"}


def run(root: Path, cache: Path, consent: dict[str, str], **options: object) -> Federation:
    for site, says in consent.items():
        (root / site / "local").mkdir(parents=True)
        (root / site / "local" / "site.yaml").write_text(SITE_YAML.format(cache=cache, consent=says))
    training = TrainingSettings(lr=0.02, lr_step=0, local_epochs=8)
    settings = {"min_clients": len(consent), "num_rounds": 1, "network": NETWORK, "training": training}
    federation = Federation(IOPFLRecipe(**settings, include_code=False, **options), list(consent), root)
    federation.results = federation.run()
    assert not federation.panics
    return federation


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Federation:
    return run(tmp_path_factory.mktemp("cross"), cache, CONSENT, cross_site=True)


def test_the_matrix_is_of_those_that_consent(scored: Federation, tmp_path: Path) -> None:
    entry = scored.results["methods"]["IOP-FL"]
    found = entry["cross_site"]
    assert found["models"] == ["site-1", "site-2", "global model"] and found["sites"] == ["site-1", "site-2"]
    for metric, rows in found["scores"].items():
        for at, site in enumerate(found["sites"]):
            assert rows[at][at] == pytest.approx(entry["sites"][site]["personal"]["test"][metric]), "at home"
            assert rows[2][at] == entry["sites"][site]["test"][metric]
    assert found["scores"]["slice_dice"][0][1] != found["scores"]["slice_dice"][1][1], "two models at one site"
    page = write_report(scored.results, {}, tmp_path / "report.html").read_text()
    assert 'id="cross_site"' in page and "Dice of each site&#x27;s personal model of IOP-FL at each site" in page
    nothing = copy.deepcopy(scored.results)
    nothing["methods"]["IOP-FL"]["cross_site"]["scores"] = {"dice": [[None, None]] * 3}
    assert 'id="cross_site"' not in write_report(nothing, {}, tmp_path / "nothing.html").read_text()


def test_no_model_of_a_site_that_does_not_consent_goes_to_another(scored: Federation) -> None:
    asked = {site: given for site, task, given, _ in scored.wire if task == "cross_evaluate"}
    assert set(asked) == {"site-1", "site-2"}
    personal = {site: weights_in(reply) for site, task, reply in scored.sent if task == "submit_model"}
    assert set(personal) == set(CONSENT)
    window = {site: state["decoder.output.weight"].numpy().tobytes() for site, state in personal.items()}
    for given in asked.values():
        assert window["site-1"] in given and window["site-2"] in given and window["site-3"] not in given
        assert not any(name.encode() in given for name in CONSENT), "a site is not told whose models it scores"
        models = FLModelUtils.from_shareable(fobs.loads(given)).params
        assert set(models) == {"expert-0", "expert-1"}
    for site, task, reply in scored.sent:
        assert not weights_in(reply) or task in ("train", "submit_model"), site


def test_a_site_takes_no_model_unless_it_says_so(scored: Federation) -> None:
    state = next(weights_in(reply) for _, task, reply in scored.sent if task == "submit_model")
    run = {"flare_mri_run": "c0ffee" + "0" * 26}
    assert set(scored.ask("site-3", "cross_evaluate", {"expert-0": state}, run)) == {"__headers__"}
    assert "cross_site of its site.yaml does not say so" in (scored.root / "site-3" / "flare_mri.log").read_text()
    bad = {**state, "decoder.output.bias": torch.full((2,), torch.nan)}
    assert set(scored.ask("site-1", "cross_evaluate", {"expert-0": bad}, run)) == {"__headers__"}
    assert "expert-0" in (scored.root / "site-1" / "flare_mri.log").read_text()


def test_one_alone_has_nothing_to_compare_with(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    federation = run(tmp_path, cache, {"site-1": "true", "site-2": "false"}, cross_site=True)
    assert "cross_site: 1 sites with a personal model consent" in caplog.text
    assert "cross_site" not in federation.results["methods"]["IOP-FL"]
    assert not any(task == "cross_evaluate" for _, task, *_ in federation.wire)


@pytest.mark.parametrize(
    ("recipe", "method"), [(FedMRIRecipe, "FedMRI"), (IOPFLRecipe, "Ditto"), (IOPFLRecipe, "FedAvg")]
)
def test_methods_whose_models_stay_are_refused(recipe: type[TrainingRecipe], method: str) -> None:
    with pytest.raises(InputError, match=f"^cross_site: expected IOP-FL .*, got {method}, of which they never leave"):
        recipe(method=method, cross_site=True, include_code=False)
