# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What bundles of both tasks must say of a model: its network, and nothing that MONAI would run beside it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.networks.admitted import PACKAGES, check_arguments, full_name


@dataclass(frozen=True)
class BundlePlan(ABC):
    """All that the files of a bundle say, and no more: neither job nor hospital, nor any path.

    Attributes:
        target: full name of the network's class.
        args: its arguments.
    """

    target: str
    args: dict[str, Any]

    @property
    def needs_package(self) -> bool:
        """Whether this package must be installed to run the bundle: here, where the network is one of it."""
        return self.target.startswith(PACKAGES[0])

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the model gives, in a few words."""

    @abstractmethod
    def make_inputs(self, count: int) -> tuple[Tensor, ...]:
        """Random numbers in the shapes and types that the network is called with.

        Args:
            count: of slices or patches.
        """

    @property
    def class_name(self) -> str:
        """The network's, without its module."""
        return self.target.rpartition(".")[2]


def describe_network(model: PersonalModel) -> tuple[str, dict[str, Any]]:
    """Full name and arguments of a model's network.

    Raises:
        InputError: arguments that MONAI would take for something to call.
    """
    args = check_arguments(model.network)
    _refuse_targets(args)
    return full_name(model.network), args


def refuse_pooled(config: SiteConfig) -> None:
    """Raises InputError for the settings of several sites at once."""
    if config.members:
        raise InputError(f"{config.file} has pooled_sites, which is for simulated sites; give those of one")


def _refuse_targets(value: Any) -> None:
    """MONAI calls whatever a key `_target_` of its configuration names: none may come from a model's file."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not str(key).isidentifier() or str(key).startswith("_"):
                raise InputError(f"network args: expected names such as channels, got {key!r:.80}; correct the job")
            _refuse_targets(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_targets(item)
