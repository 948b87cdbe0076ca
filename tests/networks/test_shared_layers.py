# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import nn

from flare_mri.errors import InputError
from flare_mri.networks import SHARED_LAYERS, UNet, shared_keys


def _unet(**options) -> UNet:
    return UNet(channels=2, num_pools=2, **options)


@pytest.mark.parametrize("shared_layers", SHARED_LAYERS)
def test_shared_and_private_make_up_the_state_in_order(shared_layers):
    network = _unet(norm="batch")
    state, shared = list(network.state_dict()), shared_keys(network, shared_layers)
    private = [key for key in state if key not in set(shared)]
    assert sorted(shared + private) == sorted(state)
    assert shared == [key for key in state if key in set(shared)]
    expected_private = {
        "encoder": len(network.decoder.state_dict()),
        "all": 0,
        "all_but_last": 2,
        "all_but_norm": 5 * sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()),
        "none": len(state),
    }
    assert len(private) == expected_private[shared_layers]


def test_encoder_and_decoder_are_disjoint_and_whole():
    network = _unet()
    encoder, decoder = shared_keys(network, "encoder"), shared_keys(network, ["decoder"])
    assert encoder + decoder == list(network.state_dict())
    assert encoder == [f"encoder.{key}" for key in network.encoder.state_dict()]
    assert shared_keys(network, ["decoder", "encoder."]) == shared_keys(network, "all")


@pytest.mark.parametrize("decoder", ["plain", "refined"])
def test_all_but_last_keeps_the_output_layer(decoder):
    network = _unet(decoder=decoder)
    private = set(network.state_dict()) - set(shared_keys(network, "all_but_last"))
    assert private == {"decoder.output.weight", "decoder.output.bias"}


def test_all_but_norm_goes_by_module_and_takes_buffers():
    network = nn.Sequential()
    network.norm_like_name = nn.Conv2d(1, 2, 1)
    network.plain_name = nn.BatchNorm2d(2)
    network.group = nn.GroupNorm(1, 2)
    assert shared_keys(network, "all_but_norm") == ["norm_like_name.weight", "norm_like_name.bias"]


def test_prefixes_are_compared_part_by_part():
    network = nn.Module()
    for name in ("bn1", "bn10"):
        network.add_module(name, nn.BatchNorm2d(1))
    assert {key.split(".")[0] for key in shared_keys(network, ["bn1"])} == {"bn1"}
    assert shared_keys(network, ["bn10.weight"]) == ["bn10.weight"]


def test_basic_unet_splits_by_prefix():
    network = BasicUNet(spatial_dims=2, features=(2, 2, 2, 2, 2, 2))
    encoder = shared_keys(network, ["conv_0", "down_1", "down_2", "down_3", "down_4"])
    decoder = shared_keys(network, ["upcat_1", "upcat_2", "upcat_3", "upcat_4", "final_conv"])
    assert sorted(encoder + decoder) == sorted(network.state_dict())
    assert not set(encoder) & set(decoder)
    last = set(network.state_dict()) - set(shared_keys(network, "all_but_last"))
    assert last == {"final_conv.weight", "final_conv.bias"}
    assert not any("adn" in key for key in shared_keys(network, "all_but_norm"))  # MONAI's default norm has weights


def test_a_layer_registered_twice_is_private_under_both_names():
    network = DynUNet(2, 1, 1, [3, 3, 3], [1, 2, 2], [2, 2], filters=[2, 2, 2], norm_name="batch")
    state = network.state_dict()
    shared = shared_keys(network, "all_but_norm")
    private = [state[key] for key in state if key not in set(shared) and state[key].numel()]
    assert len({v.data_ptr() for v in private}) < len(private)  # DynUNet does register layers twice
    assert not {state[key].data_ptr() for key in shared} & {v.data_ptr() for v in private}
    assert not any("norm" in key for key in shared)


@pytest.mark.parametrize(
    "network,shared_layers,message",
    [
        (_unet(), "encoders", "expected one of encoder, all, all_but_last, all_but_norm, none or a list.*'encoders'"),
        (nn.Sequential(nn.Linear(1, 1)), "encoder", "Sequential has no submodule 'encoder'.*top-level modules 0"),
        (_unet(norm="instance"), "all_but_norm", "no normalisation layer of UNet has parameters or buffers"),
        (_unet(), ["encoder", "enc"], "prefix 'enc' matches nothing in UNet.*encoder, decoder"),
        (_unet(), [""], "prefix '' matches nothing"),
        (_unet(), [], "to share nothing use 'none'"),
        (_unet(), [1], "expected dotted prefixes"),
        (nn.ReLU(), "all_but_last", "ReLU has no parameters"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(network, shared_layers, message):
    with pytest.raises(InputError, match=message) as error:
        shared_keys(network, shared_layers)
    assert "\n" not in str(error.value)


def test_shared_state_loads_into_a_network_with_another_decoder():
    plain, refined = _unet(), _unet(decoder="refined")
    state = plain.state_dict()
    shared = {key: state[key] for key in shared_keys(plain, "encoder")}
    missing, unexpected = refined.load_state_dict(shared, strict=False)
    assert not unexpected and all(key.startswith("decoder.") for key in missing)
    x = torch.randn(1, 1, 8, 8)
    assert all(torch.equal(a, b) for a, b in zip(plain.encoder(x), refined.encoder(x), strict=True))
