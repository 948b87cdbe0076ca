# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's privacy filters on what a round has changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy
from torch import Tensor

from flare_mri.errors import InputError

MECHANISMS = {"svt": SVTPrivacy, "percentile": PercentilePrivacy}
_RECEIVED = "flare_mri_received"


def note_received(fl_ctx: FLContext, shared: Mapping[str, Tensor]) -> None:
    """For the executor: leave the received shared part where :class:`UpdatePrivacy` finds it, on this site only."""
    fl_ctx.set_prop(_RECEIVED, dict(shared), private=True, sticky=False)


class UpdatePrivacy(Filter):
    """Put one of FLARE's privacy filters between a trained shared part and the wire.

    FLARE's filters clip and perturb every number they are given, which is meant for *changes*: applied to weights they
    would clip the weights themselves. This filter takes the difference from what the site received, gives it to FLARE's
    filter as NumPy, and sends received + filtered difference. Integer buffers pass.

    ``svt``: sparse vector technique, Li et al., "Privacy-preserving federated brain tumour segmentation", 2019;
    differentially private with the budget its arguments give *per round*, for each value of the update.
    ``percentile``: Shokri and Shmatikov, CCS 2015; sends only the largest changes, clipped; no formal guarantee.

    Args:
        mechanism: ``svt`` or ``percentile``.
        arguments: of FLARE's filter, such as ``{"epsilon": 0.1, "fraction": 0.1, "gamma": 1e-3}``.

    Raises:
        InputError: an unknown mechanism, or arguments that FLARE's filter does not take.
    """

    def __init__(self, mechanism: str, arguments: dict[str, Any] | None = None):
        super().__init__()
        if mechanism not in MECHANISMS:
            raise InputError(f"privacy {mechanism!r}: expected one of {', '.join(MECHANISMS)}")
        self.mechanism = mechanism
        self.arguments = arguments or {}
        try:
            self._filter = MECHANISMS[mechanism](**self.arguments)
        except TypeError as e:
            raise InputError(f"privacy {mechanism!r}: {e}; see the arguments of FLARE's filter") from e

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return the result with its changes filtered.

        Raises:
            ContentBlockedException: the result holds weights, and what the site received is not known: a task other
                than training. Nothing is sent.
        """
        if shareable.get_return_code() != ReturnCode.OK:
            return shareable
        dxo = from_shareable(shareable)
        if dxo.data_kind != DataKind.WEIGHTS or not dxo.data:
            return shareable
        received = fl_ctx.get_prop(_RECEIVED)
        if received is None or received.keys() != dxo.data.keys():
            message = f"site {fl_ctx.get_identity_name()}: result blocked, nothing was sent: weights without a change"
            self.log_error(fl_ctx, message, fire_event=False)
            raise ContentBlockedException(message)
        dxo.data = self._filter_changes(dxo.data, received, shareable, fl_ctx)
        return dxo.update_shareable(shareable)

    def _filter_changes(
        self, trained: Mapping[str, Tensor], received: Mapping[str, Tensor], shareable: Shareable, fl_ctx: FLContext
    ) -> dict[str, Tensor]:
        changes = {k: (v - received[k]).numpy() for k, v in trained.items() if v.is_floating_point()}
        inner = DXO(DataKind.WEIGHT_DIFF, data=changes)
        result = self._filter.process_dxo(inner, shareable, fl_ctx)
        if result is None:  # FLARE's way to say that its arguments are out of range and nothing was filtered
            raise InputError(f"privacy {self.mechanism!r}: FLARE's filter refuses {self.arguments}; correct them")
        return {
            k: received[k] + torch.from_numpy(np.asarray(result.data[k], np.float32)).to(v.dtype) if k in changes else v
            for k, v in trained.items()
        }
