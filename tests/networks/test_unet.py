# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flare_mri.errors import InputError
from flare_mri.networks import UNet

IOPFL = {
    "in_channels": 3,
    "out_channels": 2,
    "norm": "batch",
    "negative_slope": 0.0,
    "pool": "max",
    "upsampling": "linear",
}


@pytest.mark.parametrize("options", [{}, {"decoder": "refined"}, {"pool": "max", "dropout": 0.5}, IOPFL])
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (4, 5)])
def test_decoder_of_encoder_is_the_network_at_any_size(options, size):
    network = UNet(channels=4, num_pools=2, **options).eval()
    x = torch.randn(2, options.get("in_channels", 1), *size)
    features = network.encoder(x)
    assert [tuple(f.shape[1:]) for f in features] == [(4 * 2**s, size[0] // 2**s, size[1] // 2**s) for s in range(3)]
    output = network(x)
    assert output.shape == (2, options.get("out_channels", 1), *size)
    assert torch.equal(network.decoder(features), output)


def _published_forward(network: UNet, x: torch.Tensor) -> torch.Tensor:
    """The network of the FedMRI paper in functional form, from its weights alone (even sizes, 2 poolings)."""
    w = network.state_dict()

    def act(y):
        mean, var = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, unbiased=False)
        y = (y - mean) / torch.sqrt(var + 1e-5)
        return torch.where(y > 0, y, 0.2 * y)

    def block(y, name):
        for layer in (0, 4):
            y = act(F.conv2d(y, w[f"{name}.{layer}.weight"], padding=1))
        return y

    def up(y, name):
        return act(F.conv_transpose2d(y, w[f"{name}.0.weight"], stride=2))

    skip0 = block(x, "encoder.blocks.0")
    skip1 = block(F.avg_pool2d(skip0, 2), "encoder.blocks.1")
    y = block(F.avg_pool2d(skip1, 2), "encoder.blocks.2")
    y = block(torch.cat([up(y, "decoder.ups.0"), skip1], 1), "decoder.blocks.0")
    y = block(torch.cat([up(y, "decoder.ups.1"), skip0], 1), "decoder.blocks.1")
    return F.conv2d(y, w["decoder.output.weight"], w["decoder.output.bias"])


def test_is_the_published_network():
    network, x = UNet(channels=4, num_pools=2).double(), torch.randn(2, 1, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(network(x), _published_forward(network, x))


def test_is_the_published_network_of_iop_fl():
    network, x = UNet(channels=4, num_pools=2, **IOPFL).double(), torch.randn(2, 3, 16, 24, dtype=torch.float64)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    w = network.state_dict()

    def block(y, name):
        for layer in (0, 4):
            y = F.conv2d(y, w[f"{name}.{layer}.weight"], padding=1)
            scale, shift = (w[f"{name}.{layer + 1}.{part}"] for part in ("weight", "bias"))
            y = F.relu(F.batch_norm(y, None, None, scale, shift, training=True))
        return y

    def up(y, name):
        return F.conv_transpose2d(y, w[f"{name}.0.weight"], w[f"{name}.0.bias"], stride=2)

    skip0 = block(x, "encoder.blocks.0")
    skip1 = block(F.max_pool2d(skip0, 2), "encoder.blocks.1")
    y = block(F.max_pool2d(skip1, 2), "encoder.blocks.2")
    y = block(torch.cat([up(y, "decoder.ups.0"), skip1], 1), "decoder.blocks.0")
    y = block(torch.cat([up(y, "decoder.ups.1"), skip0], 1), "decoder.blocks.1")
    expected = F.conv2d(y, w["decoder.output.weight"], w["decoder.output.bias"])
    torch.testing.assert_close(network.train()(x), expected)


def test_published_size_and_names():
    network = UNet()
    widths = [32, 64, 128, 256, 512]
    convs = 9 * (32 + sum(w * w for w in widths) + sum(2 * w * w for w in widths[:-1]))  # encoder, 3x3
    assert sum(p.numel() for p in network.encoder.parameters()) == convs
    assert all(name.split(".")[0] in ("encoder", "decoder") for name in network.state_dict())
    assert len(network.state_dict()) == 2 * 5 + 4 * 3 + 2  # no norm state; one bias
    assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in network.encoder.modules())


def test_refined_decoder_adds_one_convolution_and_leaves_the_encoder():
    plain, refined = UNet(channels=4, num_pools=1), UNet(channels=4, num_pools=1, decoder="refined")
    assert set(refined.state_dict()) - set(plain.state_dict()) == {"decoder.refine.weight"}
    assert refined.decoder.refine.weight.shape == (4, 4, 3, 3)
    assert list(plain.encoder.state_dict()) == list(refined.encoder.state_dict())


@pytest.mark.parametrize("norm,batch", [("instance", 1), ("batch", 2)])
def test_trains_down_to_a_one_pixel_bottleneck(norm, batch):
    network = UNet(channels=2, num_pools=4, norm=norm)
    network(torch.randn(batch, 1, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())


def test_too_small_an_image_says_what_is_needed():
    with pytest.raises(InputError, match=r"expected height and width >= 8.*got \(16, 7\)"):
        UNet(channels=2, num_pools=3)(torch.zeros(1, 1, 16, 7))


@pytest.mark.parametrize(
    "option,message",
    [
        ({"norm": "layer"}, "norm: expected one of instance, batch, group, got 'layer'"),
        ({"pool": "mean"}, "pool: expected one of avg, max, got 'mean'"),
        ({"decoder": "deep"}, "decoder: expected one of plain, refined, got 'deep'"),
        ({"upsampling": "bilinear"}, "upsampling: expected one of normalised, linear, got 'bilinear'"),
        ({"num_pools": 0}, "num_pools: expected an integer from 1 to 12, got 0"),
        ({"num_pools": 10**9}, "num_pools: expected an integer from 1 to 12, got 1000000000"),
        ({"spatial_dims": 1}, "spatial_dims: expected an integer from 2 to 3, got 1"),
        ({"channels": 3.5}, "channels: expected an integer from 1 to 1048576, got 3.5"),
    ],
)
def test_wrong_options_are_named(option, message):
    with pytest.raises(InputError, match=message):
        UNet(**option)
