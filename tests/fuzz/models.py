# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Models: the routing space and the site store's states."""

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from arrays import Exploit, nothing_ran, zipped
from mutators import Base, Case, Kind

from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.networks import build_network
from flare_mri.routing import build_routed_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space
from flare_mri.tensor_file import checksum, pack_tensors
from flare_mri.training.site_store import SiteStore


def _states() -> dict[str, dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return {name: {"a": torch.randn(3, 2, generator=draw), "n": torch.tensor(5)} for name in ("site-1", GLOBAL)}


def space_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A routing space; headers with huge sizes; a description that was changed, with a checksum that fits or not."""
    path, network = folder / "made.tmp", {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4}}
    save_routing_space(path, RoutingSpace(network, _states()))
    name, whole = "space.safetensors", path.read_bytes()
    path.unlink()
    tensors = {f"{site}/{key}": value for site, state in _states().items() for key, value in state.items()}
    good = {"format": "flare-mri routing space 1", "experts": ["site-1", GLOBAL], "network": network}

    def made(description: Any, tensors: dict[str, torch.Tensor] = tensors, right: bool = True) -> bytes:
        if isinstance(description, dict):
            digest = checksum(tensors, description) if right else "0" * 64
            description = json.dumps({**description, "checksum": digest})
        return safetensors.torch.save(tensors, {"flare_mri": description})

    changes: dict[str, Any] = {
        f"{key}: {str(value)[:30]!r}": {**good, key: value}
        for key in ("experts", "network", "format")
        for value in (
            None,
            [],
            {},
            [1, 2],
            [["a"]],
            ["site-1", "site-1", GLOBAL],
            [GLOBAL, "site-1"],
            "x",
            10**30,
            "../x",
        )
        if not (key == "network" and value == {})
    }
    hostile = [Case(name, made(value), label) for label, value in changes.items()]
    hostile += [
        Case(name, made(value, right=False), f"MUST FAIL: {label}") for label, value in {"checksum": good}.items()
    ]
    for label, text in (
        ("deep", "[" * 100_000),
        ("no JSON", "{"),
        ("digits", "9" * 5000),
        ("a list", "[]"),
        ("none", "null"),
    ):
        hostile.append(Case(name, made(text), f"a description that is {label}"))
    for label, extra in (
        ("a stranger's", {"x/a": torch.zeros(1)}),
        ("no site's", {"a": torch.zeros(1)}),
        ("not finite", {"site-1/b": torch.tensor([float("nan")])}),
        ("complex", {"site-1/c": torch.zeros(2, dtype=torch.complex64)}),
    ):
        hostile.append(Case(name, made(good, {**tensors, **extra}), f"MUST FAIL: a tensor that is {label}"))
    for size in (0, 1, 2**20, 2**31, 2**63, 2**64 - 1):
        hostile.append(Case(name, struct.pack("<Q", size) + whole[8:], f"a header of {size} bytes"))
    length = int.from_bytes(whole[:8], "little")
    for offsets in ([0, 2**62], [0, 10**30], [-1, 24], [24, 0], [0, 0]):
        changed = json.loads(whole[8 : 8 + length])
        changed["site-1/a"]["data_offsets"] = offsets
        changed["site-1/a"]["shape"] = [offsets[1] // 4 if 0 < offsets[1] < 2**63 else 0]
        text = json.dumps(changed).encode()
        hostile.append(Case(name, struct.pack("<Q", len(text)) + text + whole[8 + length :], f"offsets {offsets}"))
    return [Base(name, whole)], hostile


def read_space(folder: Path) -> list[Any]:
    """All tensors and the settings of their network."""
    space = load_routing_space(folder / "space.safetensors")
    return [list(state.values()) for state in space.experts.values()] + [json.dumps(space.network)]


def model_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A hospital's model, plain and routed; descriptions of networks that are larger than any machine."""
    network: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 2, "num_pools": 1}}
    plain = build_network(network, 0)
    good = PersonalModel("job", "site-1", "segmentation", network, plain.state_dict(), (8, 8))
    mixed = build_routed_network(plain, [plain.state_dict()] * 2).state_dict()
    routed = PersonalModel(
        "job", "site-1", "segmentation", network, mixed, (8, 8), experts=("site-1", GLOBAL), batch_size=8
    )
    name = PERSONAL_FILE

    def made(model: PersonalModel, **changes: Any) -> bytes:
        return pack_tensors(model.state, {**model.description(), **changes})[0]

    networks: list[Any] = [
        {**network, "args": {**network["args"], "channels": size}} for size in (-1, 4, 10**6, 10**18)
    ]
    networks += [{**network, "args": {**network["args"], "num_pools": size}} for size in (-1, 40, 10**9)]
    networks += [
        None,
        [],
        {"path": "os.system", "args": {"command": "true"}},
        {"path": "flare_mri.networks.build.Path"},
    ]
    hostile = [
        Case(name, made(model, network=changed), f"MUST FAIL: network {changed}")
        for model in (good, routed)
        for changed in networks
    ]
    for experts in (None, "x", [1], ["a"], ["a"] * 3, ["a"] * 10**6):
        hostile.append(Case(name, made(routed, experts=experts), f"MUST FAIL: experts {str(experts)[:30]}"))
    return [Base(name, made(good)), Base(name, made(routed))], hostile


def read_model(folder: Path) -> list[Any]:
    """All tensors of the network that it describes."""
    return list(load_personal_model(folder / PERSONAL_FILE).build().state_dict().values())


def store_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A state as torch writes it, and pickles."""
    file = io.BytesIO()
    torch.save({"state": _states(), "round": 3, "numbers": [1, 2.5], "name": "x"}, file)
    name = "job/site-1/state.pt"
    old = io.BytesIO()
    torch.save({"a": torch.arange(6.0)}, old, _use_new_zipfile_serialization=False)
    hostile = [
        Case(name, pickle.dumps(Exploit(), protocol), f"a pickle of protocol {protocol}") for protocol in (0, 2, 4)
    ]
    hostile.append(
        Case(
            name,
            zipped({"archive/data.pkl": pickle.dumps(Exploit(), 2), "archive/version": b"3\n"}),
            "a pickle in a zip",
        )
    )
    return [Base(name, file.getvalue()), Base(name, old.getvalue())], hostile


def read_store(folder: Path) -> Any:
    """The state."""
    nothing_ran()
    return SiteStore(folder, "job", "site-1").load("state.pt")


MODELS = [
    Kind("space", 120, space_files, read_space),
    Kind("model", 100, model_files, read_model),
    Kind("store", 100, store_files, read_store),
]
