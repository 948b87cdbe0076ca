# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The gate between a hospital and the wire."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from nvflare.apis.dxo import DataKind, MetaKey, from_shareable
from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.app_constant import AppConstants
from torch import Tensor

from flare_mri.flare.protocol import problem_in_metrics
from flare_mri.flare.statistics_message import problem_in_statistics

ANY = "*"
_META = {MetaKey.INITIAL_METRICS, MetaKey.FILTER_HISTORY}
_KINDS = {DataKind.WEIGHTS, DataKind.METRICS, DataKind.STATISTICS}
_DXO = "DXO"
_DXO_PARTS = {"kind", "data", "meta"}
_ROUNDS = {AppConstants.START_ROUND, AppConstants.CURRENT_ROUND, AppConstants.NUM_ROUNDS}
_MOST_ROUNDS = 2**20
_CODES = {value for name, value in vars(ReturnCode).items() if name.isupper()}
_FILTER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_MOST_FILTERS = 8


class SharedPartOnly(Filter):
    """Refuse, as a whole, any result that holds more than the shared part, named metrics or named statistics.

    Nothing is stripped in silence: a result with a private key, an unlisted metadata key, header or entry, a tensor
    where none belongs, a metric that is not one finite number, or anything at all beside an error's return code is
    blocked, the server sees an error code and the site's log names the cause. A job names this filter for its tasks; a
    hospital can name it in its own ``privacy.json`` too, and then it holds whatever the job says.

    Args:
        allowed: dotted prefixes of state-dict keys that may leave, compared part by part (``encoder`` lets
            ``encoder.0.weight`` pass, not ``encoder2.weight``); empty lets no tensor pass, ``*`` those of any key.
    """

    def __init__(self, allowed: list[str]):
        super().__init__()
        self.allowed = list(allowed)

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return the result unchanged, or block it.

        Raises:
            ContentBlockedException: something in it may not leave the site.
        """
        problem = self._problem(shareable)
        if problem:
            message = f"site {fl_ctx.get_identity_name()}: result blocked, nothing was sent: {problem}"
            self.log_error(fl_ctx, message, fire_event=False)
            raise ContentBlockedException(message)
        return shareable

    def _problem(self, shareable: Shareable) -> str:
        headers = shareable.get(ReservedHeaderKey.HEADERS)
        if problem := _problem_in_headers(headers):
            return problem
        failed = shareable.get_return_code() != ReturnCode.OK
        expected = {ReservedHeaderKey.HEADERS} | (set() if failed else {_DXO})
        unlisted = sorted(set(shareable) - expected, key=str)
        if unlisted:
            beside = f" beside return code {shareable.get_return_code()}" if failed else ""
            return f"entry {unlisted[0]!r:.80}{beside} is not listed"
        return "" if failed else self._problem_in_dxo(shareable)

    def _problem_in_dxo(self, shareable: Shareable) -> str:
        try:
            dxo = from_shareable(shareable)
        except ValueError as e:
            return f"not a DXO ({e})"
        if set(shareable[_DXO]) != _DXO_PARTS:
            return f"a DXO of {sorted(map(str, shareable[_DXO]))!r:.200}, expected {sorted(_DXO_PARTS)}"
        if dxo.data_kind not in _KINDS:
            return f"data kind {dxo.data_kind!r:.80}, expected one of {sorted(_KINDS)}"
        unlisted = sorted(set(dxo.meta) - _META, key=str)
        if unlisted:
            return f"metadata key {unlisted[0]!r:.80} is not listed"
        history = dxo.meta.get(MetaKey.FILTER_HISTORY, [])
        if not isinstance(history, list) or len(history) > _MOST_FILTERS or not all(map(_is_filter_name, history)):
            return f"metadata {MetaKey.FILTER_HISTORY!r} is not a list of names of filters"
        if dxo.data_kind == DataKind.STATISTICS:
            return problem_in_statistics(dxo.data)
        metrics = dxo.data if dxo.data_kind == DataKind.METRICS else dxo.meta.get(MetaKey.INITIAL_METRICS) or {}
        weights = dxo.data if dxo.data_kind == DataKind.WEIGHTS else {}
        return self._problem_in_weights(weights) or problem_in_metrics(metrics)

    def _problem_in_weights(self, weights: Mapping[str, Any]) -> str:
        for key, value in weights.items():
            if not isinstance(key, str):
                return f"a tensor under {key!r:.80}, expected a name"
            if ANY not in self.allowed and not any(key == p or key.startswith(f"{p}.") for p in self.allowed):
                return f"{key!r:.200} is private (may leave: {', '.join(self.allowed) or 'no tensor'})"
            if not isinstance(value, (Tensor, np.ndarray)):
                return f"{key!r:.200} is a {type(value).__name__}, expected a tensor"
        return ""


def _problem_in_headers(headers: Any) -> str:
    if not isinstance(headers, Mapping):
        return f"headers are a {type(headers).__name__}, expected names and values"
    for name, value in headers.items():
        if name == ReservedHeaderKey.RC:
            fits = value in _CODES
        elif name == ReservedHeaderKey.CONTENT_TYPE:
            fits = value == _DXO
        elif name in _ROUNDS:
            fits = value is None or (type(value) is int and 0 <= value <= _MOST_ROUNDS)
        else:
            return f"header {name!r:.80} is not listed"
        if not fits:
            return f"header {name!r} is {value!r:.80}, which FLARE does not put there"
    return ""


def _is_filter_name(name: Any) -> bool:
    return isinstance(name, str) and bool(_FILTER_NAME.match(name))
