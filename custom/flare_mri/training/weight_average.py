# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of a network's weights over the steps of all rounds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flare_mri.networks.state_check import check_private_state


class WeightAverage:
    r"""Averages the weights that a site trains, the received shared part among them: a personal model.

    After step t, from 0, :math:`p \leftarrow d_t p + (1 - d_t) \theta` with :math:`d_t = \min(d, (1 + t) / (10 + t))`,
    so that the first weights are soon forgotten; buffers are the last ones (Polyak and Juditsky, 1992).

    Args:
        network: that is trained.
        decay: d, 0 < d < 1.
    """

    def __init__(self, network: nn.Module, decay: float):
        def average(mean: Tensor, new: Tensor, steps: Tensor | int) -> Tensor:
            return torch.lerp(new, mean, min(decay, (1 + float(steps)) / (10 + float(steps))))

        self._model = AveragedModel(network, avg_fn=average)

    def update(self, network: nn.Module) -> None:
        """Add the weights after a step."""
        self._model.update_parameters(network)

    def network_state(self) -> dict[str, Tensor] | None:
        """The average as a state of the network, on the CPU; None before the first step."""
        if not int(self._model.n_averaged):
            return None
        return {key: value.detach().cpu().clone() for key, value in self._model.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that must survive the process."""
        return self._model.state_dict()

    def restore(self, state: Mapping[str, Any], site: str) -> None:
        """Take up what :meth:`state` gave.

        Raises:
            InputError: it does not fit the network.
        """
        check_private_state(site, "average", self._model.state_dict(), state)
        self._model.load_state_dict(state)
