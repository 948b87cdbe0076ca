# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's own policy: which jobs it takes part in, whatever a lead submits or a server sends.

It lies as ``flare_mri.yaml`` beside ``site.yaml`` in the ``local`` folder of the hospital's kit:

```yaml
methods: [FedMRI, encoder-sharing, local-only, IOP-FL-outside, site-statistics]
shared_layers: [encoder, none]        # what of a network may leave: encoder, all, all_but_last, all_but_norm, none
networks:
  - flare_mri.networks.unet.UNet
  - flare_mri.networks.dual_domain.DualDomainUNet
  - flare_mri.networks.unrolled.UnrolledNetwork
optimizers: [rmsprop, adam]           # sgd sends gradients as they are, from which images can be rebuilt
```
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from flare_mri.config.base import Settings, show_value
from flare_mri.config.data import Texts
from flare_mri.config.network import UNROLLED, WITH_ENCODER
from flare_mri.config.training import OPTIMIZERS
from flare_mri.config.yaml_file import read_yaml
from flare_mri.errors import InputError
from flare_mri.methods import METHOD_NAMES, METHODS, ROUTING, STATISTICS, shared_layers_of
from flare_mri.networks import SHARED_LAYERS
from flare_mri.networks.admitted import full_name, full_names

POLICY_FILE = "flare_mri.yaml"
SAFE_METHODS = ("FedMRI", "encoder-sharing", "local-only", ROUTING, STATISTICS)
"""Methods of which no hospital's whole network leaves it."""
SAFE_OPTIMIZERS = ("rmsprop", "adam")
SITE_CLASSES = tuple(
    f"flare_mri.flare.components.{name}"
    for name in ("PersonalizedExecutor", "RoutingExecutor", "SharedPartOnly", "StatisticsExecutor", "UpdatePrivacy")
)
"""Classes that jobs without code name at a site: the whole of its ``class_allow_list``."""
SERVER_CLASSES = tuple(
    f"flare_mri.flare.components.{name}"
    for name in ("GatherStatistics", "PartialAggregator", "PersonalizedFedAvg", "RouteOutside", "SharedPartPersistor")
)
"""Classes that they name at the server."""
PIN = "flare_mri.flare.components.SharedPartOnly"
"""The filter that a hospital pins in its own ``privacy.json``."""
NO_SHELL = {"id": "no_shell_commands", "path": "flare_mri.flare.site_components.NoShellCommands", "args": {}}
"""A hospital's own component, see :mod:`flare_mri.flare.site_components`."""


def _out_of(known: tuple[str, ...]) -> AfterValidator:
    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value not in known:
                raise ValueError(f"expected names out of {', '.join(known)}, got {show_value(value)}")
        return values

    return AfterValidator(check)


def _full_names(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            name = full_name({"path": value})
        except InputError as error:
            raise ValueError(f"expected classes that this package admits, got {show_value(value)} ({error})") from error
        if name != value:
            raise ValueError(f"expected the class's full name {name}, got {show_value(value)}")
    return values


class Policy(Settings):
    """Jobs that a hospital takes part in. Every field lists what it admits; what is not listed is refused."""

    methods: Annotated[Texts, _out_of(METHOD_NAMES)] = SAFE_METHODS
    """names of methods"""
    shared_layers: Annotated[Texts, _out_of(SHARED_LAYERS)] = shared_layers_of(SAFE_METHODS)
    """what of a network may leave; a job's own list of prefixes is admitted where `all` is"""
    networks: Annotated[Texts, AfterValidator(_full_names)] = WITH_ENCODER
    """full names of classes"""
    optimizers: Annotated[Texts, _out_of(OPTIMIZERS)] = SAFE_OPTIMIZERS
    """names of optimizers"""

    def refusals(
        self,
        method: str,
        network: Mapping[str, Any] | None,
        shared_layers: str | list[str] | None = None,
        optimizer: str | None = None,
    ) -> dict[str, str]:
        """The parts of a job outside this policy: name of the field -> one phrase; empty where nothing is.

        A part that is None is not known yet, and not judged. A regulariser within a network has to be admitted as well.

        Raises:
            InputError: a network that this package admits nowhere.
        """
        layers = "all" if isinstance(shared_layers, list) else shared_layers
        asked = {
            "method": (method, self.methods),
            "shared_layers": (layers, self.shared_layers),
            "network": (None if network is None else self._least_admitted(network), self.networks),
            "optimizer": (optimizer, self.optimizers),
        }
        return {
            name: f"{name} {_plain(value)}, admitted: {', '.join(admitted) or 'none'}"
            for name, (value, admitted) in asked.items()
            if value is not None and value not in admitted
        }

    def _least_admitted(self, network: Mapping[str, Any]) -> str:
        """The network of a job or, where that is admitted, its regulariser."""
        names = full_names(network)
        return next((name for name in names if name not in self.networks), names[0])

    def pinned_prefixes(self) -> list[str]:
        """Prefixes for :class:`~flare_mri.flare.components.SharedPartOnly` in the hospital's ``privacy.json``.

        Where an encoder's prefixes depend on the network's arguments, or are not ``encoder``, tensors of any name pass.
        """
        if set(self.shared_layers) <= {"none"}:
            return []
        flexible = set() if UNROLLED in self.networks else {"monai.networks.nets.FlexibleUNet"}
        alike = set(self.networks) <= {*WITH_ENCODER} | flexible  # within an unrolled network its names are others
        if not alike or not set(self.shared_layers) <= {"encoder", "none"}:
            return ["*"]
        return ["encoder", *(m.extra_prefix for name, m in METHODS.items() if name in self.methods and m.extra_prefix)]

    def text(self) -> str:
        """The file's text."""
        lines = ["# Jobs outside of this are refused before they read any data: docs/how-to/hospital-it.md."]
        lines += [f"{name}: [{', '.join(values)}]" for name, values in self]
        return "\n".join(lines) + "\n"


def read_policy(path: Path, site: str) -> Policy:
    """Reads a policy; every key must be there, so that nothing is admitted by an omission.

    Raises:
        InputError: no such file, no YAML, a key that is missing or unknown, or a value that names nothing.
    """
    origin = f"site {site!r}, {path}"
    values = read_yaml(path, origin)
    for key, field in Policy.model_fields.items():
        if key not in values:
            raise InputError(f"{origin}: {key}: expected a list of {field.description}, got nothing; [] admits none")
    return Policy.read(values, origin)


def find_policy(local: Path, site: str) -> Policy | None:
    """The policy of a site's ``local`` folder; None where it wrote none: a simulated or a POC site, as a rule.

    Raises:
        InputError: as :func:`read_policy`.
    """
    path = local / POLICY_FILE
    meant = local / Path(POLICY_FILE).with_suffix(".yml")
    if os.path.lexists(meant):
        raise InputError(f"site {site}: {meant}: expected the policy as {POLICY_FILE}; rename it")
    return read_policy(path, site) if os.path.lexists(path) else None


def _plain(value: Any) -> str:
    """A value of the job for one line of a log: nothing in it can begin a second one."""
    return re.sub(r"[^ -~]", "?", str(value))[:80]
