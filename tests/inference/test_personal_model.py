# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The model a hospital ends with: written, read, built again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.networks import build_network
from flare_mri.routing import adaptable_parameters, build_routed_network
from flare_mri.tensor_file import pack_tensors
from flare_mri.training import SiteStore

SPEC: dict[str, Any] = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def plain() -> PersonalModel:
    return PersonalModel("iopfl", "site-1", "segmentation", SPEC, build_network(SPEC, 3).state_dict(), (32, 32))


def routed() -> tuple[PersonalModel, torch.nn.Module]:
    network = build_network(SPEC, 0)
    mixed = build_routed_network(network, [build_network(SPEC, seed).state_dict() for seed in range(3)])
    with torch.no_grad():
        for parameter in adaptable_parameters(mixed):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    names = ("site-1", "site-2", "global")
    return PersonalModel("out", "outside-1", "segmentation", SPEC, mixed.state_dict(), (32, 32), (), 2, names, 8), mixed


def written(model: PersonalModel, folder: Path) -> Path:
    store = SiteStore(folder, model.job, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    return store.path(PERSONAL_FILE)


def test_a_plain_model_is_the_same_after_a_round_trip(tmp_path: Path, images: torch.Tensor) -> None:
    model = plain()
    loaded = load_personal_model(written(model, tmp_path))
    assert replace(loaded, state={}) == replace(model, state={})
    network = build_network(SPEC, 3).eval()
    assert torch.equal(loaded.build()(images), network(images))


def test_a_routed_model_is_the_same_after_a_round_trip(tmp_path: Path, images: torch.Tensor) -> None:
    model, network = routed()
    loaded = load_personal_model(written(model, tmp_path))
    assert loaded.experts == ("site-1", "site-2", "global") and loaded.batch_size == 8
    assert torch.equal(loaded.build()(images), network.eval()(images))


def test_a_layer_that_stands_twice_can_be_written(tmp_path: Path) -> None:
    shared = torch.ones(2)
    model = replace(plain(), state={"a": shared, "b": shared})
    loaded = load_personal_model(written(model, tmp_path))
    assert torch.equal(loaded.state["a"], loaded.state["b"])


def _changed(folder: Path, model: PersonalModel, **description: Any) -> Path:
    path = folder / "changed.safetensors"
    path.write_bytes(pack_tensors(model.state, {**model.description(), **description})[0])
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "another"}, "expected format"),
        ({"task": "registration"}, "expected reconstruction or segmentation, got 'registration'"),
        ({"site": 3}, "expected job, site, task"),
        ({"network": None}, "expected its settings"),
        ({"experts": "site-1"}, "expected a list of names"),
        ({"batch_size": 1}, "expected 2 to 4096, got 1"),
        ({"spatial_size": [64]}, r"expected two sizes, got \[64\]"),
    ],
)
def test_a_description_that_lacks_something(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = _changed(tmp_path, plain(), **change)
    with pytest.raises(InputError, match=words) as caught:
        load_personal_model(path)
    assert str(path) in str(caught.value)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    model = plain()
    state = {key: value.clone() for key, value in model.state.items()}
    state["decoder.output.weight"][0] = float("nan")
    with pytest.raises(InputError, match=r"decoder\.output\.weight.*finite"):
        load_personal_model(written(replace(model, state=state), tmp_path))


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = written(plain(), tmp_path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"personal\.safetensors: checksum does not match"):
        load_personal_model(path)
    with pytest.raises(InputError, match="a folder, no file"):
        load_personal_model(tmp_path)


def test_another_networks_state(tmp_path: Path) -> None:
    wider = {**SPEC, "args": {**SPEC["args"], "channels": 8}}
    with pytest.raises(InputError, match="another network's"):
        load_personal_model(_changed(tmp_path, plain(), network=wider)).build()
    model, _ = routed()
    with pytest.raises(InputError, match="another network's"):
        load_personal_model(_changed(tmp_path, model, network=wider)).build()
    with pytest.raises(InputError, match="another network's"):
        load_personal_model(_changed(tmp_path, model, experts=["site-1", "global"])).build()


def test_more_experts_than_the_file_can_hold_take_no_memory(tmp_path: Path) -> None:
    model, _ = routed()
    path = _changed(tmp_path, model, experts=[str(number) for number in range(10**6)])
    with pytest.raises(InputError, match="layers of 1000000 models"):
        load_personal_model(path).build()


def test_a_network_of_another_package_is_not_built(tmp_path: Path) -> None:
    path = _changed(tmp_path, plain(), network={"path": "subprocess.Popen", "args": {"args": "true"}})
    with pytest.raises(InputError, match="expected a class under"):
        load_personal_model(path).build()


def test_a_model_of_before_is_read(tmp_path: Path) -> None:
    """Its description had `matrix` and no slice axis."""
    described = plain().description()
    old = {**{k: v for k, v in described.items() if k not in ("spatial_size", "slice_axis")}, "matrix": [32, 32]}
    store = SiteStore(tmp_path / "store", "iopfl", "site-1")
    store.save_model(PERSONAL_FILE, plain().state, old)
    model = load_personal_model(store.path(PERSONAL_FILE))
    assert model.spatial_size == (32, 32) and model.slice_axis is None
    assert model.build()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"orientations": ["../x"]}, "orientations: expected axis codes"),
        ({"slice_axis": 3}, "slice_axis: expected 0, 1 or 2"),
        ({"spatial_size": [32]}, "spatial_size: expected two sizes"),
    ],
)
def test_a_description_that_makes_no_sense(tmp_path: Path, change: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_personal_model(_changed(tmp_path, plain(), **change))
