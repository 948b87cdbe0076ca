# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that a job may name, and what it may not make their constructors do."""

import socket
from typing import Any

import pytest

from flare_mri.errors import InputError
from flare_mri.flare.components import SharedPartPersistor
from flare_mri.networks import build_network, check_size
from flare_mri.networks.admitted import full_name

PLANE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a constructor opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_network_has_one_name() -> None:
    aliases = ("flare_mri.networks.UNet", "flare_mri.networks.unet.UNet")
    assert {full_name({"path": path}) for path in aliases} == {"flare_mri.networks.unet.UNet"}
    aliases = ("monai.networks.nets.dynunet.DynUNet", "monai.networks.nets.DynUnet", "monai.networks.nets.DynUNet")
    assert {full_name({"path": path}) for path in aliases} == {"monai.networks.nets.DynUNet"}


@pytest.mark.parametrize(
    "path",
    [
        "monai.networks.nets.HoVerNet",
        "monai.networks.nets.Generator",
        "monai.networks.nets.TorchVisionFCModel",
        "monai.networks.nets.Transchex",
        "monai.networks.nets.transchex.MultiModal",
        "monai.networks.nets.unet.nn.Sequential",
        "monai.networks.nets.basic_unet.Down",
        "flare_mri.networks.build.SharedPart",
        "flare_mri.networks.unet.Encoder",
        "flare_mri.networks.unet.nn.Module",
    ],
)
def test_other_modules_are_not_admitted(path: str) -> None:
    with pytest.raises(InputError, match="is not admitted: expected one of|does not exist"):
        build_network({"path": path, "args": {}}, seed=0)


@pytest.mark.parametrize(
    "name, args, told",
    [
        (
            "FlexibleUNet",
            {"backbone": "efficientnet-b0", "pretrained": True},
            "pretrained: expected none, since nothing",
        ),
        ("DenseNet121", {"pretrained": 1}, "pretrained: expected none"),
        ("BasicUNet", {"pretrained_url": "http://127.0.0.1/x"}, "'pretrained_url' is no argument"),
        ("BasicUNet", {"act": "http://127.0.0.1/x"}, "act: expected numbers or short names, no URL and no path"),
        ("BasicUNet", {"norm": ["instance", {"x": "/etc/passwd"}]}, "norm: expected numbers or short names"),
        ("UNet", {"channels": [2] * 1000, "strides": [1]}, "channels: expected numbers"),
        ("UNet", {"channels": [2, 2**40], "strides": [1]}, "channels: expected numbers"),
        ("BasicUNet", {"dropout": float("nan")}, "dropout: expected numbers"),
        ("BasicUNet", {"norm": [[[[[["x"]]]]]]}, "norm: expected numbers"),
        ("UNet", {"channels": [2, 2], "strides": [1], "num_res_units": 5000}, "num_res_units: expected at most 64"),
        ("SegResNet", {"blocks_down": [1, 10**6]}, "blocks_down: expected at most 64"),
    ],
)
def test_arguments_that_fetch_or_name_files_are_refused(name: str, args: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        build_network({"path": f"monai.networks.nets.{name}", "args": {**PLANE, **args}}, seed=0)
    assert "\n" not in str(caught.value)


def test_a_network_that_no_machine_holds_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(InputError, match="expected at most 536870912 values, got"):
        check_size({"path": "flare_mri.networks.unet.UNet", "args": {"channels": 2**20}})
    check_size({"path": "flare_mri.networks.unet.UNet"})
    with pytest.raises(InputError, match="expected at most 536870912 values, got"):
        SharedPartPersistor({"path": "flare_mri.networks.unet.UNet", "args": {"channels": 2**20}}, "encoder")
