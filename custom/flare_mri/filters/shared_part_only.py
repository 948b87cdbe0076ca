# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The gate between a hospital and the wire."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from nvflare.apis.dxo import DataKind, MetaKey, from_shareable
from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from torch import Tensor

from flare_mri.wire import problem_in_metrics

_META = {MetaKey.INITIAL_METRICS, MetaKey.FILTER_HISTORY}
_KINDS = {DataKind.WEIGHTS, DataKind.METRICS}


class SharedPartOnly(Filter):
    """Refuse, as a whole, any result that holds more than the shared part and named metrics.

    Nothing is stripped in silence: a result with a private key, an unlisted metadata key, a tensor where none belongs
    or a metric that is not one finite number is blocked, the server sees an error code and the site's log names the
    cause. A job names this filter for its tasks; a hospital can name it in its own ``privacy.json`` too, and then it
    holds whatever the job says.

    Args:
        allowed: dotted prefixes of state-dict keys that may leave, compared part by part (``encoder`` lets
            ``encoder.0.weight`` pass, not ``encoder2.weight``); empty lets no tensor pass.
    """

    def __init__(self, allowed: list[str]):
        super().__init__()
        self.allowed = list(allowed)

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return the result unchanged, or block it.

        Raises:
            ContentBlockedException: something in it may not leave the site.
        """
        if shareable.get_return_code() != ReturnCode.OK:
            return shareable
        problem = self._problem(shareable)
        if problem:
            message = f"site {fl_ctx.get_identity_name()}: result blocked, nothing was sent: {problem}"
            self.log_error(fl_ctx, message, fire_event=False)
            raise ContentBlockedException(message)
        return shareable

    def _problem(self, shareable: Shareable) -> str:
        try:
            dxo = from_shareable(shareable)
        except ValueError as e:
            return f"not a DXO ({e})"
        if dxo.data_kind not in _KINDS:
            return f"data kind {dxo.data_kind!r}, expected one of {sorted(_KINDS)}"
        unlisted = sorted(set(dxo.meta) - _META)
        if unlisted:
            return f"metadata key {unlisted[0]!r} is not listed"
        metrics = dxo.data if dxo.data_kind == DataKind.METRICS else dxo.meta.get(MetaKey.INITIAL_METRICS) or {}
        weights = dxo.data if dxo.data_kind == DataKind.WEIGHTS else {}
        return self._problem_in_weights(weights) or problem_in_metrics(metrics)

    def _problem_in_weights(self, weights: Mapping[str, Any]) -> str:
        for key, value in weights.items():
            if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in self.allowed):
                return f"{key!r} is private (may leave: {', '.join(self.allowed) or 'no tensor'})"
            if not isinstance(value, (Tensor, np.ndarray)):
                return f"{key!r} is a {type(value).__name__}, expected a tensor"
        return ""
