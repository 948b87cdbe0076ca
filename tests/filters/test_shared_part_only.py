# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from flare_mri.filters import SharedPartOnly

ENCODER = {"encoder.0.weight": torch.zeros(2), "encoder.0.bias": torch.zeros(1)}


def process(dxo: DXO | None, allowed: tuple[str, ...] = ("encoder",)) -> Shareable:
    shareable = dxo.to_shareable() if dxo else Shareable()
    return SharedPartOnly(list(allowed)).process(shareable, FLContext())


def test_shared_part_and_metrics_pass_unchanged() -> None:
    metrics = {"train/loss": 0.5, "validation/psnr": 30.1, "slices/train": 24.0, "best/round": 3.0}
    dxo = DXO(DataKind.WEIGHTS, dict(ENCODER), {MetaKey.INITIAL_METRICS: metrics})
    passed = from_shareable(process(dxo))
    assert passed.data.keys() == ENCODER.keys() and passed.meta[MetaKey.INITIAL_METRICS] == metrics
    assert from_shareable(process(DXO(DataKind.METRICS, metrics), allowed=())).data == metrics


BLOCKED = {
    "private key": (
        DXO(DataKind.WEIGHTS, {**ENCODER, "decoder.0.weight": torch.zeros(1)}),
        "'decoder.0.weight' is private",
    ),
    "similar prefix": (DXO(DataKind.WEIGHTS, {"encoder2.weight": torch.zeros(1)}), "'encoder2.weight' is private"),
    "optimizer": (DXO(DataKind.WEIGHTS, {"encoder.0.weight": {"square_avg": torch.zeros(1)}}), "expected a tensor"),
    "tensor in meta": (DXO(DataKind.WEIGHTS, dict(ENCODER), {"extra": torch.zeros(1)}), "metadata key 'extra'"),
    "unlisted meta": (DXO(DataKind.WEIGHTS, dict(ENCODER), {"patient": "Doe"}), "metadata key 'patient'"),
    "tensor metric": (DXO(DataKind.METRICS, {"test/psnr": torch.zeros(9)}), "expected one finite number"),
    "list metric": (DXO(DataKind.METRICS, {"test/psnr": [30.0, 31.0]}), "expected one finite number"),
    "per-case metric": (DXO(DataKind.METRICS, {"test/Case01/dice": 0.9}), "'test/Case01/dice' is not listed"),
    "text metric": (DXO(DataKind.METRICS, {"test/psnr": "30"}), "expected one finite number"),
    "nan metric": (DXO(DataKind.METRICS, {"test/psnr": float("nan")}), "expected one finite number"),
    "other kind": (DXO(DataKind.ANALYTIC, {"a": 1}), "data kind"),
    "no dxo": (None, "not a DXO"),
}


@pytest.mark.parametrize("dxo, reason", BLOCKED.values(), ids=BLOCKED)
def test_anything_else_is_blocked_as_a_whole(dxo: DXO | None, reason: str) -> None:
    with pytest.raises(ContentBlockedException, match="nothing was sent") as caught:
        process(dxo)
    assert reason in str(caught.value)


def test_nothing_shared_lets_no_tensor_pass() -> None:
    with pytest.raises(ContentBlockedException, match="may leave: no tensor"):
        process(DXO(DataKind.WEIGHTS, dict(ENCODER)), allowed=())


def test_error_replies_pass() -> None:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    assert SharedPartOnly([]).process(reply, FLContext()) is reply
