# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from flare_mri.errors import InputError
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space

NETWORK = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4}}


def space() -> RoutingSpace:
    generator = torch.Generator().manual_seed(0)
    states = {
        name: {"a.weight": torch.randn(3, 2, generator=generator), "bn.num_batches_tracked": torch.tensor(5)}
        for name in ("site-1", "site-2", GLOBAL)
    }
    return RoutingSpace(NETWORK, states)


def test_round_trip(tmp_path: Path) -> None:
    path, saved = tmp_path / "space.safetensors", space()
    digest = save_routing_space(path, saved)
    loaded = load_routing_space(path)
    assert loaded.checksum == digest and len(digest) == 64
    assert loaded.network == NETWORK and list(loaded.experts) == ["site-1", "site-2", GLOBAL]
    for name, state in saved.experts.items():
        assert all(torch.equal(value, loaded.experts[name][key]) for key, value in state.items())


def test_the_dice_at_home_goes_with_it(tmp_path: Path) -> None:
    path, dice = tmp_path / "space.safetensors", {"site-1": 0.75, GLOBAL: 1.0}
    save_routing_space(path, replace(space(), dice=dice))
    assert load_routing_space(path).dice == dice


@pytest.mark.parametrize("dice", [{"site-3": 0.5}, {"site-1": 1.5}, {"site-1": float("nan")}, {"site-1": "x"}, [0.5]])
def test_a_dice_that_is_none_is_refused(dice: Any) -> None:
    with pytest.raises(InputError, match="routing space: dice: expected numbers from 0 to 1 by model"):
        replace(space(), dice=dice)


def test_changed_value_is_found(tmp_path: Path) -> None:
    path = tmp_path / "space.safetensors"
    save_routing_space(path, space())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"space\.safetensors: checksum does not match"):
        load_routing_space(path)


@pytest.mark.parametrize("size", [0, 4, 100, 400])
def test_truncated_file_is_one_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "space.safetensors"
    save_routing_space(path, space())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError) as caught:
        load_routing_space(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="expected format"):
        load_routing_space(path)
    with pytest.raises(InputError, match="no such file"):
        load_routing_space(tmp_path / "missing")


def test_a_space_ends_with_the_global_model() -> None:
    with pytest.raises(InputError, match="then 'global'"):
        RoutingSpace(NETWORK, {"site-1": {}})
