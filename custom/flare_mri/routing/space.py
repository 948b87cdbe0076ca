# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The routing space as a file: the personal models of the inside sites and the global model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from flare_mri.atomic_file import write_atomically
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.errors import InputError
from flare_mri.tensor_file import check_tensor, pack_tensors, read_tensor_file

SPACE_FILE = "routing_space.safetensors"
"""Its name in the folder of the run that made it."""
GLOBAL = "global"
MODEL_NAMES = {
    GLOBAL: "global model",
    "mean": "mean of all predictions",
    "global_site": "global model, site statistics",
    "mean_site": "mean of all predictions, site statistics",
    "mean_matched": "mean of the predictions weighted as the mix",
    "matched": "matched mix",
    "unadapted": "routing before adaptation",
    "routing": "IOP-FL routing",
}
"""Names in tables and pictures of the predictions of an outside site, besides those of the personal models."""
PLAN = tuple(SegmentationPlan.model_fields)
_FORMAT = "flare-mri routing space 1"


@dataclass(frozen=True)
class RoutingSpace:
    """{p_1 ... p_K, θ_G} of IOP-FL.

    Attributes:
        network: settings of the network all experts belong to.
        experts: name of the inside site, or :data:`GLOBAL`, -> state dict; the global model comes last.
        plan: what they mark, and in what pieces they see a volume.
        dice: mean Dice of each in the test volumes of its own site, the global model's of all sites; in [0, 1]. Empty
            where they were not scored, and in files of before this was kept.
        checksum: of the file that it was read from, SHA-256; empty where it came from none.
    """

    network: dict[str, Any]
    experts: dict[str, dict[str, Tensor]]
    plan: SegmentationPlan = SegmentationPlan()
    checksum: str = ""
    dice: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.experts)[-1:] != [GLOBAL] or len(self.experts) < 2:
            names = ", ".join(self.experts) or "none"
            raise InputError(f"routing space: expected the sites' models and then {GLOBAL!r}, got {names}")
        known = isinstance(self.dice, Mapping) and not set(self.dice) - set(self.experts)
        if not known or not all(type(dice) is float and 0 <= dice <= 1 for dice in self.dice.values()):
            raise InputError(
                f"routing space: dice: expected numbers from 0 to 1 by model, got {str(self.dice)[:80]!r}; run the job "
                "iopfl again"
            )


def row_names(experts: Sequence[str]) -> dict[str, str]:
    """Key of a prediction on the wire -> its row of tables; no name of another site is a key.

    Args:
        experts: of a routing space, the global model last.
    """
    return {f"expert-{i}": f"personal model of {site}" for i, site in enumerate(experts[:-1])} | MODEL_NAMES


def save_routing_space(path: Path, space: RoutingSpace) -> str:
    """Write a routing space atomically, with site names, network settings and the returned checksum in its metadata."""
    tensors = {f"{name}/{key}": t for name, state in space.experts.items() for key, t in state.items()}
    description = {"format": _FORMAT, "experts": list(space.experts), "network": space.network}
    description |= space.plan.model_dump(mode="json") | ({"dice": dict(space.dice)} if space.dice else {})
    content, digest = pack_tensors(tensors, description)
    write_atomically(path, content)
    return digest


def load_routing_space(path: Path) -> RoutingSpace:
    """Read a routing space.

    Raises:
        InputError: no such file, no safetensors, another format, a checksum that does not match, an expert without
            tensors, a tensor of no expert, or values that are not finite; the message names the file.
    """
    description, tensors, found = read_tensor_file(
        "routing space", path, _FORMAT, "the file that the job iopfl left on the server"
    )
    try:
        plan = SegmentationPlan.read({key: description[key] for key in PLAN if key in description}, "its plan")
        dice = description.get("dice", {})
        return RoutingSpace(_network(description), _experts(description, tensors), plan, found, dice)
    except InputError as e:
        raise InputError(f"routing space {path}: {e}") from e


def _network(description: dict[str, Any]) -> dict[str, Any]:
    network = description.get("network")
    if not isinstance(network, dict):
        raise InputError("network: expected its settings, got none; run the job iopfl again")
    return network


def _experts(description: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    names = description.get("experts")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError("experts: expected different names, got none; run the job iopfl again")
    experts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in tensors.items():
        name, _, entry = key.partition("/")
        if name not in experts:
            raise InputError(f"tensor {key!r} belongs to no expert; copy it anew")
        check_tensor(key, tensor, "run the job iopfl again")
        experts[name][entry] = tensor
    missing = [name for name, state in experts.items() if not state]
    if missing:
        raise InputError(f"no model of {', '.join(missing)}; run the job iopfl again with all sites")
    return experts
