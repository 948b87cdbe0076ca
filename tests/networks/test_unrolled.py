# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The unrolled network: what it keeps, how it scales, what learns, what is shared."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_mri.config.network import UNROLLED
from flare_mri.deploy.policy import Policy
from flare_mri.errors import InputError
from flare_mri.networks import build_network, check_size, encoder_prefixes, sample_keys, shared_keys
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics import DATA_CONSISTENCY, SenseOperator, fft2c, ifft2c
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.noise import add_noise_floor
from monai_networks import ARGUMENTS
from multi_coil import Scan, make_scan, psnr

SMALL = {"channels": 4, "num_pools": 2}


def spec(**args: Any) -> dict[str, Any]:
    return {"path": UNROLLED, "args": {"num_cascades": 2, "regulariser_args": SMALL, **args}}


def build(**args: Any) -> nn.Module:
    return build_network(spec(**args), seed=0)


def disturb(network: nn.Module) -> nn.Module:
    """The network as after training: no output convolution is zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def call(network: nn.Module, scan: Scan) -> Tensor:
    entries = {"kspace": scan.kspace, "mask": scan.mask, "sensitivities": scan.maps}
    return network(*(entries[key] for key in network.sample_keys))


@pytest.mark.parametrize("consistency", DATA_CONSISTENCY)
def test_sizes_and_numbers_of_coils_may_change_between_calls(consistency: str) -> None:
    for network in (build(data_consistency=consistency), build(data_consistency=consistency, sensitivity_channels=2)):
        disturb(network)
        for coils, size in ((1, (32, 32)), (4, (33, 29)), (8, (17, 40)), (4, (7, 9))):
            scan = make_scan(size, coils, step=2, centre=3)
            output = call(network, scan)
            assert output.shape == (1, 1, *size) and output.dtype == torch.float32
            assert output.isfinite().all() and (output >= 0).all() and output.any()


def test_untrained_it_is_the_zero_filled_image_of_one_coil() -> None:
    scan = make_scan((33, 32), 1)
    for consistency in ("hard", "soft"):
        output = call(build(data_consistency=consistency), scan)
        torch.testing.assert_close(output, ifft2c(scan.kspace).abs(), atol=1e-5, rtol=0)


def test_hard_consistency_keeps_the_samples_of_one_coil() -> None:
    scan = make_scan((33, 32), 1)
    network = disturb(build())
    maps = network.find_sensitivities(scan.kspace, scan.mask)
    image = network.run_cascades(scan.kspace, scan.mask, maps)[-1]
    assert not torch.allclose(image, ifft2c(scan.kspace), atol=1e-2)
    torch.testing.assert_close(fft2c(image) * scan.mask, scan.kspace, atol=1e-4, rtol=0)


def test_the_root_sum_of_squares_has_the_measured_samples_of_every_coil() -> None:
    scan, network = make_scan((33, 32), 4), disturb(build(output="rss"))
    image = network.run_cascades(scan.kspace, scan.mask, scan.maps)[-1]
    kspace = torch.where(scan.mask, scan.kspace, fft2c(scan.maps * image))
    expected = ifft2c(kspace).abs().square().sum(1, keepdim=True).sqrt()
    expected = add_noise_floor(expected, scan.kspace, scan.mask)
    torch.testing.assert_close(call(network, scan), expected)
    assert not torch.allclose(expected, image.abs(), atol=1e-3)
    noisy = Scan(scan.image, scan.maps, scan.mask, scan.kspace + 7 * ~scan.mask, scan.full)
    torch.testing.assert_close(call(network, noisy), expected)
    one = make_scan((33, 32), 1)
    torch.testing.assert_close(call(network, one), call(disturb(build(output="combined")), one), atol=1e-4, rtol=1e-4)


def test_the_last_of_the_cascades_images_is_the_output() -> None:
    scan, network = make_scan((32, 32), 4), disturb(build(num_cascades=3, output="combined"))
    images = network.run_cascades(scan.kspace, scan.mask, scan.maps)
    assert len(images) == 3 and torch.equal(images[-1].abs(), call(network, scan))
    shorter = build(num_cascades=2, output="combined")
    shorter.load_state_dict({key: value for key, value in network.state_dict().items() if ".2." not in key[:11]})
    torch.testing.assert_close(shorter(scan.kspace, scan.mask, scan.maps), images[1].abs())


@pytest.mark.parametrize(
    "args", [{}, {"data_consistency": "cg"}, {"sensitivity_channels": 2}, {"output": "combined"}], ids=str
)
def test_a_scaled_and_turned_scan_gives_the_scaled_image(args: dict[str, Any]) -> None:
    scan, network = make_scan((24, 31), 4), disturb(build(**args))
    first = call(network, scan)
    scaled = Scan(scan.image, scan.maps, scan.mask, 1000 * scan.kspace, scan.full)
    torch.testing.assert_close(call(network, scaled), 1000 * first, atol=1e-2, rtol=1e-4)


def test_samples_of_a_batch_do_not_depend_on_one_another() -> None:
    one, other = make_scan((24, 24), 4, step=3), make_scan((24, 24), 4, step=2, seed=1)
    network = disturb(build(data_consistency="cg", sensitivity_channels=2)).eval()
    both = network(torch.cat([one.kspace, 50 * other.kspace]), torch.cat([one.mask, other.mask]))
    torch.testing.assert_close(both[:1], call(network, one), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[1:], 50 * call(network, other), atol=5e-3, rtol=1e-4)


def test_an_empty_slice_and_a_dead_coil_stay_finite() -> None:
    scan, network = make_scan((24, 24), 4), disturb(build(sensitivity_channels=2, output="rss"))
    kspace = torch.cat([scan.kspace, torch.zeros_like(scan.kspace)])
    kspace[0, 1] = 0
    kspace.requires_grad_()
    network(kspace, scan.mask.expand(2, -1, -1, -1)).sum().backward()
    assert not network.find_sensitivities(kspace, scan.mask)[0, 1].any()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("args", [{}, {"data_consistency": "soft"}, {"data_consistency": "cg"}], ids=str)
def test_gradients_reach_all_parameters(args: dict[str, Any]) -> None:
    network, scan = disturb(build(**args, sensitivity_channels=2)), make_scan((24, 24), 4)
    (call(network, scan) - scan.image.abs()).abs().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("consistency", DATA_CONSISTENCY)
def test_a_few_steps_bring_it_above_its_start(consistency: str) -> None:
    scan, network = make_scan((32, 32), 4, step=3, centre=6), build(data_consistency=consistency)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    before = psnr(call(network, scan), scan.image)
    for _ in range(25):
        optimizer.zero_grad()
        (call(network, scan) - scan.image.abs()).abs().mean().backward()
        optimizer.step()
    assert psnr(call(network, scan), scan.image) > max(before, psnr(root_sum_of_squares(scan.kspace), scan.image)) + 1


@pytest.mark.parametrize("name", ARGUMENTS)
def test_monais_networks_regularise_and_their_encoders_are_found(name: str) -> None:
    network = build(regulariser=f"monai.networks.nets.{name}", regulariser_args=ARGUMENTS[name])
    assert call(network, make_scan((33, 40), 2)).shape == (1, 1, 33, 40)
    inner = encoder_prefixes(network.regulariser[0])
    assert encoder_prefixes(network) == [f"regulariser.{i}.{prefix}" for i in range(2) for prefix in inner]
    shared = set(shared_keys(network, "encoder"))
    assert shared and shared < set(network.state_dict())


def test_the_encoders_of_all_cascades_are_shared_and_nothing_else() -> None:
    network = build(num_cascades=3, data_consistency="soft", sensitivity_channels=2)
    assert encoder_prefixes(network) == ["encoder.0", "encoder.1", "encoder.2"]
    shared = shared_keys(network, "encoder")
    assert shared == [key for key in network.state_dict() if key.split(".")[0] == "encoder"]
    private = {key.split(".")[0] for key in network.state_dict() if key not in set(shared)}
    assert private == {"decoder", "data_consistency", "sensitivity_network"}
    assert {key.split(".")[1] for key in shared_keys(network, ["encoder.0", "decoder.2"])} == {"0", "2"}
    assert len(shared_keys(network, ["data_consistency", "sensitivity_network"])) > 3
    assert shared_keys(build(shared_cascades=True), "encoder") == shared_keys(build(num_cascades=1), "encoder")


def test_shared_cascades_have_the_same_weights() -> None:
    one, many = build(shared_cascades=True, num_cascades=3), build(num_cascades=3)
    assert sum(p.numel() for p in many.parameters()) == 3 * sum(p.numel() for p in one.parameters())
    disturb(one)
    many.load_state_dict(
        {key: one.state_dict()[".".join([key.split(".")[0], "0", *key.split(".")[2:]])] for key in many.state_dict()}
    )
    scan = make_scan((24, 24), 4)
    torch.testing.assert_close(call(one, scan), call(many, scan))


def test_it_asks_for_what_it_needs_and_is_as_large_as_it_is_said_to_be() -> None:
    assert sample_keys({"path": UNROLLED}) == ("kspace", "mask", "sensitivities")
    assert sample_keys(spec(sensitivity_channels=2)) == ("kspace", "mask")
    check_size({"path": UNROLLED})
    assert 1.9e6 < sum(p.numel() for p in UnrolledNetwork().parameters()) < 1.95e6


def test_a_sensitivity_network_starts_at_the_centres_images() -> None:
    scan = make_scan((32, 33), 4, step=3, centre=9)
    maps = build(sensitivity_channels=2).find_sensitivities(scan.kspace, scan.mask)
    centre = torch.zeros_like(scan.kspace)
    centre[..., 16 - 4 : 16 + 5] = scan.kspace[..., 16 - 4 : 16 + 5]
    images = ifft2c(centre)
    torch.testing.assert_close(maps, images / images.abs().square().sum(1, keepdim=True).sqrt(), atol=1e-4, rtol=0)
    torch.testing.assert_close(SenseOperator(maps, scan.mask).support, torch.ones(1, 1, 32, 33))


@pytest.mark.parametrize(
    "args, told",
    [
        ({"num_cascades": 0}, "num_cascades: expected an integer from 1 on, got 0"),
        ({"num_cascades": 500}, "num_cascades: expected at most 64"),
        ({"data_consistency": "firm"}, "data_consistency: expected one of hard, soft, cg, got 'firm'"),
        ({"data_consistency": "soft", "data_consistency_args": {"weight": 2}}, "weight: expected above 0 and below 1"),
        ({"data_consistency_args": {"weight": 0.5}}, "cannot be built with args"),
        (
            {"regulariser": "flare_mri.networks.dual_domain.DualDomainUNet"},
            "expected a network that takes spatial_dims",
        ),
        ({"regulariser": UNROLLED}, "expected a network that takes"),
        ({"regulariser": "torch.nn.Identity"}, "network path: expected a class under"),
        ({"output": "magnitude"}, "output: expected one of combined, rss, got 'magnitude'"),
        ({"regulariser_args": {"in_channels": 1}}, "regulariser_args: in_channels: expected 2, got 1"),
        ({"regulariser_args": {"kernel": 1}}, "'kernel' is no argument of it"),
        (
            {
                "regulariser": "monai.networks.nets.FlexibleUNet",
                "regulariser_args": {"backbone": "resnet10", "pretrained": True},
            },
            "pretrained: expected none, since nothing is downloaded",
        ),
    ],
    ids=str,
)
def test_what_it_cannot_be_made_of_is_refused(args: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        build(**args)


def test_calls_that_do_not_fit_are_refused() -> None:
    scan = make_scan((32, 32), 4)
    with pytest.raises(InputError, match="expected coil sensitivities for the 4 coils"):
        build()(scan.kspace, scan.mask)
    with pytest.raises(InputError, match="k-space: expected complex"):
        build()(scan.kspace, scan.mask, scan.maps[:, :2])
    supervised = {**ARGUMENTS["DynUNet"], "deep_supervision": True, "deep_supr_num": 1}
    network = build(regulariser="monai.networks.nets.DynUNet", regulariser_args=supervised)
    with pytest.raises(InputError, match="no deep supervision"):
        call(network.train(), scan)


def test_a_policy_judges_the_regulariser_too() -> None:
    monai = {"path": UNROLLED, "args": {"regulariser": "monai.networks.nets.BasicUNet"}}
    assert not Policy().refusals("FedMRI", {"path": UNROLLED}, "encoder")
    assert "network monai.networks.nets.BasicUNet, admitted" in Policy().refusals("FedMRI", monai, "encoder")["network"]
    both = Policy(networks=(UNROLLED, "monai.networks.nets.BasicUNet"))
    assert not both.refusals("FedMRI", monai, "encoder")
    assert Policy().pinned_prefixes() == ["encoder"]
    assert Policy(networks=(UNROLLED, "monai.networks.nets.FlexibleUNet")).pinned_prefixes() == ["*"]
