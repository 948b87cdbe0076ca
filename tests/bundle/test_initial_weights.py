# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A job that begins with the weights of a bundle or a personal model, and what it refuses to begin with."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.utils import fobs

from federation import Federation, exported_config
from flare_mri.bundle import export_bundle
from flare_mri.bundle.weights import load_initial_weights
from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.flare.protocol import TaskName
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.networks import SharedPart, build_network
from flare_mri.training import SiteStore

UNET: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
SPEC = {**UNET, "args": {**UNET["args"], "in_channels": 3, "out_channels": 2, "norm": "batch"}}
SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32]}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
"""


def settle(root: Path, cache: Path) -> Path:
    path = root / "site-1" / "local" / "site.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SITE_YAML.format(cache=cache))
    return path


def first_given(recipe: Any, root: Path) -> dict[str, torch.Tensor]:
    """What the server gives to the site in round 0."""
    federation = Federation(recipe, ["site-1"], root)
    federation.run()
    assert not federation.panics, federation.panics
    given = next(content for _, task, content, _ in federation.wire if task == TaskName.TRAIN)
    return FLModelUtils.from_shareable(fobs.loads(given)).params


@pytest.mark.parametrize("kind", ["bundle", "bundle's safetensors", "personal model", "plain safetensors"])
def test_round_0_begins_with_them(tmp_path: Path, cache: Path, kind: str) -> None:
    """IOP-FL shares all layers, so that the site's whole network begins with the file."""
    config = load_site_config(settle(tmp_path, cache), "site-1")
    state = build_network(SPEC, 77).state_dict()
    known = PersonalModel("job", "site-1", "segmentation", SPEC, state, (32, 32))
    export_bundle(known, config, tmp_path / "bundle")
    store = SiteStore(tmp_path / "store", "job", "site-1")
    store.save_model("personal.safetensors", state, known.description())
    safetensors.torch.save_file(state, tmp_path / "plain.safetensors")
    file = {
        "bundle": tmp_path / "bundle" / "models" / "model.pt",
        "bundle's safetensors": tmp_path / "bundle" / "models" / "model.safetensors",
        "personal model": store.path("personal.safetensors"),
        "plain safetensors": tmp_path / "plain.safetensors",
    }[kind]
    recipe = IOPFLRecipe(
        min_clients=1, num_rounds=1, network=SPEC, initial_weights=str(file), include_code=False, method="FedAvg"
    )
    given = first_given(recipe, tmp_path)
    assert given.keys() == state.keys() and all(torch.equal(given[key], state[key]) for key in state)


def test_the_shared_part_alone_is_taken(tmp_path: Path, cache: Path) -> None:
    """FedMRI shares its encoder: the file's decoder, here of another number of outputs, is not looked at."""
    settle(tmp_path, cache)
    state = build_network({**UNET, "args": {**UNET["args"], "out_channels": 7}}, 77).state_dict()
    torch.save(state, tmp_path / "model.pt")
    file = str(tmp_path / "model.pt")
    recipe = FedMRIRecipe(min_clients=1, num_rounds=1, network=UNET, initial_weights=file, include_code=False)
    given = first_given(recipe, tmp_path)
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    assert all(torch.equal(given[key], value) for key, value in encoder.items()) and len(encoder) > 3
    assert not any(key.startswith("decoder.") for key in given)


def test_a_job_without_them_is_what_it_was(tmp_path: Path) -> None:
    recipe = FedMRIRecipe(min_clients=1, network=UNET, include_code=False)
    assert "initial_weights" not in str(exported_config(recipe, tmp_path)).replace("'initial_weights': ''", "")
    with pytest.raises(InputError, match="initial_weights: method local-only shares no part to begin"):
        FedMRIRecipe(method="local-only", min_clients=1, network=UNET, initial_weights="file", include_code=False)


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


class Harmful:
    """What pickle would run on loading."""

    def __reduce__(self) -> Any:
        return print, ("this was run",)


STATE = SharedPart(UNET, "encoder").state_dict()
KEY = next(iter(STATE))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "none.pt", "none.pt: expected a file, got none; give a bundle's models/model.pt"),
        (lambda folder: folder, "expected a file, got none"),
        (lambda folder: saved(folder, {}), f"{KEY}: is missing, expected shape"),
        (lambda folder: saved(folder, [1]), "expected tensors by name, got a list"),
        (lambda folder: saved(folder, {**STATE, KEY: STATE[KEY][:1]}), f"{KEY}: expected shape .* got .*; give"),
        (lambda folder: saved(folder, {**STATE, KEY: STATE[KEY].double()}), f"{KEY}: expected torch.float32 values"),
        (lambda folder: saved(folder, {**STATE, KEY: STATE[KEY] / 0}), f"{KEY}: expected finite numbers"),
        (lambda folder: saved(folder, {**STATE, "more": Harmful()}), "cannot be read as plain tensors"),
        (lambda folder: written(folder, "model.pt", b"no model"), "cannot be read as plain tensors"),
        (lambda folder: written(folder, "a.safetensors", b"no model"), "cannot be read as safetensors"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, make: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=f"initial_weights {tmp_path}.*{told}") as caught:
        load_initial_weights(make(tmp_path), STATE)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_a_bad_file_ends_the_job_with_that_line(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, cache)
    file = saved(tmp_path, {**STATE, KEY: STATE[KEY] / 0})
    recipe = FedMRIRecipe(min_clients=1, network=UNET, initial_weights=str(file), include_code=False)
    federation = Federation(recipe, ["site-1"], tmp_path)
    federation.run()
    assert len(federation.panics) == 1 and f"initial_weights {file}: {KEY}: expected finite" in federation.panics[0]
    with pytest.raises(InputError, match="expected finite numbers"):
        recipe.check_sites(["site-1"], tmp_path)
