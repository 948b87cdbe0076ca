# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The methods of both systems: what each shares and what it fixes of the training."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """What makes a method.

    Attributes:
        shared_layers: what is shared, see :func:`flare_mri.networks.shared_keys`.
        training: the training settings that it fixes.
        gathers_personal_models: whether the server asks for the personal models after the last round.
    """

    shared_layers: str
    training: dict[str, Any] = field(default_factory=dict)
    gathers_personal_models: bool = False


_PLAIN = {"contrastive_weight": 0.0}

RECONSTRUCTION_METHODS = {
    "FedMRI": Method("encoder"),
    "encoder-sharing": Method("encoder", _PLAIN),
    "FedAvg": Method("all", _PLAIN),
    "FedProx": Method("all", _PLAIN),
    "FedBN": Method("all_but_norm", _PLAIN),
    "all-but-last": Method("all_but_last", _PLAIN),
    "local-only": Method("none", _PLAIN),
    "centralised": Method("all", _PLAIN),
}
SEGMENTATION_METHODS = {
    "IOP-FL": Method("all", {"ema_decay": 0.1}, gathers_personal_models=True),
    "FedAvg": Method("all"),
    "FedProx": Method("all"),
    "FedBN": Method("all_but_norm"),
    "local-only": Method("none"),
    "centralised": Method("all"),
}
ROUTING = "IOP-FL-outside"
"""The name of test-time routing at a hospital outside the federation, for policies; no weights of it leave."""
METHOD_NAMES = tuple(dict.fromkeys([*RECONSTRUCTION_METHODS, *SEGMENTATION_METHODS, ROUTING]))


def shared_layers_of(methods: tuple[str, ...]) -> tuple[str, ...]:
    """What the methods of these names share, each once."""
    tables = (RECONSTRUCTION_METHODS, SEGMENTATION_METHODS)
    return tuple(dict.fromkeys(table[name].shared_layers for name in methods for table in tables if name in table))
