# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a job says about training at one site, in plain values: every process of the site makes the same of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flare_mri.config.base import Settings
from flare_mri.config.site import SiteConfig
from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.methods import find_method
from flare_mri.methods.base import Method
from flare_mri.networks import build_network, sample_keys, shared_keys
from flare_mri.training import Learner, Task, build_task
from flare_mri.training.compilation import compile_network, prepare_compilation
from flare_mri.training.memory_format import MEMORY_FORMATS, find_faster_format
from flare_mri.training.private_steps import PrivateSteps


@dataclass(frozen=True)
class Computing:
    """How a site's network computes what it computes.

    Attributes:
        memory_format: of :data:`~flare_mri.training.memory_format.MEMORY_FORMATS`.
        compiled: by :func:`~flare_mri.training.compilation.compile_network`.
    """

    memory_format: str = "contiguous"
    compiled: bool = False


PLAIN = Computing()
"""As PyTorch does it by default."""


@dataclass(frozen=True)
class LocalJob:
    """A job at one site.

    Attributes:
        name: of the job.
        task: ``reconstruction`` or ``segmentation``.
        method: name of the method.
        network: ``{"path": class, "args": {...}}`` of this site.
        shared_layers: what is shared, see :func:`flare_mri.networks.shared_keys`.
        training: of :class:`~flare_mri.config.training.TrainingSettings`.
        options: the method's own settings.
        update_dtype: how updates travel, see :mod:`flare_mri.networks.differences`.
    """

    name: str
    task: str
    method: str
    network: dict[str, Any]
    shared_layers: str | list[str]
    training: dict[str, Any]
    options: dict[str, Any]
    update_dtype: str = "float32"

    @cached_property
    def settings(self) -> TrainingSettings:
        """Settings of training; raises InputError where they are none."""
        return TrainingSettings.read(self.training, f"job {self.name!r:.80}, training")

    @cached_property
    def found_method(self) -> Method:
        """The method; raises InputError where there is none of that name."""
        return find_method(self.method)

    @cached_property
    def method_options(self) -> Settings:
        """The method's own settings; raises InputError where they are none."""
        return self.found_method.options.read(self.options, f"job {self.name!r:.80}, method {self.method}")

    @property
    def epochs(self) -> int:
        """Epochs over the training slices in a round."""
        return self.found_method.site(self.method_options).epochs(self.settings)

    def build_task(self, config: SiteConfig) -> Task:
        """The site's task; raises InputError as :func:`flare_mri.training.build_task`."""
        return build_task(self.task, config, self.settings.seed, sample_keys(self.network), self.settings)

    def choose_computing(self, config: SiteConfig, task: Task, folder: Path) -> Computing:
        """What a site's settings come to, the memory format tried on the job's network where they say ``auto``.

        Args:
            config: of the site.
            task: of the site.
            folder: the site's own, for compiled code.

        Raises:
            InputError: the site asks for torch.compile, but it does not work there or the job trains with differential
                privacy.
        """
        if config.compile:
            if self.settings.private:
                raise InputError(
                    f"site {config.site}, {config.file}: compile: expected false for a job with differential privacy, "
                    "which looks at each patient's gradient, got true; set compile: false"
                )
            prepare_compilation(folder, task.device, config.site)
        if config.memory_format != "auto":
            return Computing(config.memory_format, config.compile)
        network = build_network(self.network, self.settings.seed)
        return Computing(find_faster_format(network, task, self.settings.precision), config.compile)

    def build_learner(self, task: Task, private: PrivateSteps | None = None, computing: Computing = PLAIN) -> Learner:
        """A learner with the network's initial weights.

        Args:
            task: of the site.
            private: steps with differential privacy, where the job asks for it.
            computing: of :meth:`choose_computing`.
        """
        network = build_network(self.network, self.settings.seed)
        network = network.to(memory_format=MEMORY_FORMATS[computing.memory_format])  # type: ignore[call-overload]
        if computing.compiled:
            compile_network(network)
        shared, hooks = shared_keys(network, self.shared_layers), self.found_method.site(self.method_options)
        return Learner(network, shared, task, self.settings, hooks, self.update_dtype, private)
