# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from flare_mri.flare.filters import SharedPartOnly

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


def test_any_key_where_the_hospital_says_so() -> None:
    dxo = DXO(DataKind.WEIGHTS, {**ENCODER, "decoder.0.weight": torch.zeros(1)})
    assert from_shareable(process(dxo, allowed=("*",))).data.keys() == dxo.data.keys()


def test_error_replies_pass() -> None:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    assert SharedPartOnly([]).process(reply, FLContext()) is reply


def beside_the_dxo(reply: Shareable) -> None:
    reply["image"] = torch.zeros(2)


def in_a_header(reply: Shareable) -> None:
    reply.set_header("patient", "Doe")


def text_for_a_round(reply: Shareable) -> None:
    reply.set_header("current_round", "Doe")


def round_that_is_a_message(reply: Shareable) -> None:
    reply.set_header("current_round", int.from_bytes(b"Jane Doe"))


def in_a_cookie(reply: Shareable) -> None:
    reply.add_cookie("patient", "Doe")


def within_the_dxo(reply: Shareable) -> None:
    reply["DXO"]["image"] = torch.zeros(2)


def in_the_history(reply: Shareable) -> None:
    reply["DXO"]["meta"][MetaKey.FILTER_HISTORY] = ["born 1950-01-01"]


def under_an_error(reply: Shareable) -> None:
    reply.set_return_code(ReturnCode.EXECUTION_EXCEPTION)


def under_a_code_of_its_own(reply: Shareable) -> None:
    reply.set_return_code("Jane Doe")


@pytest.mark.parametrize(
    "hide, reason",
    [
        (beside_the_dxo, "entry 'image' is not listed"),
        (in_a_header, "header 'patient' is not listed"),
        (text_for_a_round, "header 'current_round' is 'Doe'"),
        (round_that_is_a_message, "header 'current_round' is"),
        (in_a_cookie, "header '__cookie_jar__' is not listed"),
        (within_the_dxo, "a DXO of ['data', 'image', 'kind', 'meta']"),
        (in_the_history, "is not a list of names of filters"),
        (under_an_error, "entry 'DXO' beside return code EXECUTION_EXCEPTION"),
        (under_a_code_of_its_own, "header '__rc__' is 'Jane Doe'"),
    ],
)
def test_nothing_travels_beside_the_result(hide: Callable[[Shareable], None], reason: str) -> None:
    reply = DXO(DataKind.WEIGHTS, dict(ENCODER), {}).to_shareable()
    reply.set_header("current_round", 3)
    SharedPartOnly(["encoder"]).process(reply, FLContext())
    hide(reply)
    with pytest.raises(ContentBlockedException) as caught:
        SharedPartOnly(["encoder"]).process(reply, FLContext())
    assert reason in str(caught.value)
