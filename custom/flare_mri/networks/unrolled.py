# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Unrolled reconstruction from k-space: regularising networks between steps of data consistency."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from flare_mri.errors import InputError
from flare_mri.networks.admitted import check_arguments, full_name, network_class
from flare_mri.networks.complex_images import apply_to_complex
from flare_mri.networks.sensitivity_network import SensitivityNetwork
from flare_mri.networks.unet import UNet
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.data_consistency import DATA_CONSISTENCY
from flare_mri.physics.fourier import fft2c
from flare_mri.physics.noise import add_noise_floor
from flare_mri.physics.operator import SenseOperator

_UNET = "flare_mri.networks.unet.UNet"
_SMALL = {"channels": 16, "num_pools": 3}
_OUTPUTS = ("combined", "rss")
_TASK = {"spatial_dims": 2, "in_channels": 2, "out_channels": 2}
_MONAI_MULTIPLE = 32  # the most that any of MONAI's 2D networks asks of a size


class UnrolledNetwork(nn.Module):
    r"""Reconstruct an image from undersampled k-space of one coil or many, in T cascades.

    With the zero-filled image :math:`x_0 = A^H y / s`, divided by its maximum :math:`s`, regularisers :math:`R_t` of
    two channels (real and imaginary part) and data consistency :math:`C_t` (:mod:`flare_mri.physics.data_consistency`),

    .. math::
        x_{t+1} = C_t(x_t + R_t(x_t))

    (Schlemper et al., IEEE TMI 2018, arXiv 1704.02422; Aggarwal et al., MoDL, arXiv 1712.02862.) A scaled scan gives
    the scaled image. The last convolution of every regulariser starts at zero, so that the untrained network is data
    consistency alone, for one coil the zero-filled image (but with MONAI's UNet of residual units, which adds to it).

    A U-Net of this package is taken apart: ``encoder.0`` ... are the encoders of the cascades, which is what
    ``shared_layers: encoder`` shares, ``decoder.0`` ... their decoders. Another network stands whole under
    ``regulariser.0`` ... Beside them are ``data_consistency.0`` ... and ``sensitivity_network``.

    Args:
        num_cascades: T.
        regulariser: full name of a 2D network of this package or of ``monai.networks.nets`` that takes
            ``in_channels`` and ``out_channels``.
        regulariser_args: its arguments but for dimensions and channels of in- and output; of this package's U-Net,
            ``channels`` is 16 and ``num_pools`` 3 where left out.
        data_consistency: "hard", "soft" or "cg".
        data_consistency_args: ``weight`` of "soft" and "cg", ``iterations`` of "cg".
        shared_cascades: all cascades have the same weights (as in MoDL), not each its own.
        sensitivity_channels: of a network that finds the coil sensitivities; 0: they come with each sample.
        output: "rss" is the root sum of squares over the coils of images of
            :math:`M y + (1 - M) \mathcal F S x_T`, made as fastMRI's targets are (as
            E2E-VarNet), of several coils with the noise that the samples not measured would have added
            (:func:`flare_mri.physics.noise.add_noise_floor`); "combined" is :math:`|x_T|`. Of one coil with hard data
            consistency both are the same.

    Attributes:
        sample_keys: entries of a sample that it is called with.

    Raises:
        InputError: an option that does not exist, or a regulariser that is not admitted.

    Example:
        >>> network = UnrolledNetwork(num_cascades=2, regulariser_args={"channels": 4, "num_pools": 2})
        >>> network(torch.randn(1, 1, 33, 47) + 0j, torch.ones(1, 1, 33, 47)).shape
        torch.Size([1, 1, 33, 47])
    """

    sample_keys: tuple[str, ...] = ("kspace", "mask", "sensitivities")

    def __init__(
        self,
        num_cascades: int = 4,
        regulariser: str = _UNET,
        regulariser_args: Mapping[str, Any] | None = None,
        data_consistency: str = "hard",
        data_consistency_args: Mapping[str, Any] | None = None,
        shared_cascades: bool = False,
        sensitivity_channels: int = 0,
        output: str = "rss",
    ):
        super().__init__()
        if not (isinstance(num_cascades, int) and num_cascades >= 1):
            raise InputError(f"network: num_cascades: expected an integer from 1 on, got {num_cascades!r}; correct it")
        if data_consistency not in DATA_CONSISTENCY:
            raise InputError(
                f"network: data_consistency: expected one of {', '.join(DATA_CONSISTENCY)}, got {data_consistency!r}; "
                "correct it"
            )
        if output not in _OUTPUTS:
            raise InputError(f"network: output: expected one of {', '.join(_OUTPUTS)}, got {output!r}; correct it")
        self.num_cascades, self.output = num_cascades, output
        kinds = 1 if shared_cascades else num_cascades
        networks = [_build_regulariser(regulariser, regulariser_args or {}) for _ in range(kinds)]
        self._multiple = _MONAI_MULTIPLE
        if unets := [network for network in networks if isinstance(network, UNet)]:
            self._multiple = 2 ** len(unets[0].decoder.ups)
            self.encoder = nn.ModuleList(unet.encoder for unet in unets)
            self.decoder = nn.ModuleList(unet.decoder for unet in unets)
        else:
            self.regulariser = nn.ModuleList(networks)
        consistency = DATA_CONSISTENCY[data_consistency]
        self.data_consistency = nn.ModuleList(consistency(**(data_consistency_args or {})) for _ in range(kinds))
        if sensitivity_channels:
            self.sensitivity_network = SensitivityNetwork(sensitivity_channels)
            self.sample_keys = ("kspace", "mask")

    def forward(self, kspace: Tensor, mask: Tensor, sensitivities: Tensor | None = None) -> Tensor:
        """Reconstruct the magnitudes of a batch of slices.

        Args:
            kspace: complex [B, C, H, W], centred, orthonormal; what the mask leaves out is not looked at. H, W and the
                number of coils may be any, and others in the next call.
            mask: bool or 0/1 [B, 1, H, W], true where k-space was sampled.
            sensitivities: complex [B, C, H, W], sum of squares 1 over the coils or 0; None for a single coil, and where
                the network finds them itself.

        Returns:
            [B, 1, H, W] magnitude >= 0, in the unit of ``kspace``.

        Raises:
            InputError: several coils without sensitivities, or shapes that do not fit together.
        """
        maps = self.find_sensitivities(kspace, mask, sensitivities)
        return self.find_magnitude(self.run_cascades(kspace, mask, maps)[-1], kspace, mask, maps)

    def find_magnitude(self, image: Tensor, kspace: Tensor, mask: Tensor, sensitivities: Tensor) -> Tensor:
        """The network's output [B, 1, H, W], as ``output`` says, of the last cascade's complex image.

        Args:
            image: complex [B, 1, H, W], of :meth:`run_cascades`.
            kspace: as in :meth:`forward`.
            mask: as in :meth:`forward`.
            sensitivities: those of :meth:`find_sensitivities`.
        """
        if self.output == "combined":
            return image.abs()
        magnitude = root_sum_of_squares(torch.where(mask > 0, kspace, fft2c(sensitivities * image)))
        return magnitude if kspace.shape[1] == 1 else add_noise_floor(magnitude, kspace, mask)

    def run_cascades(self, kspace: Tensor, mask: Tensor, sensitivities: Tensor) -> list[Tensor]:
        """The complex images [B, 1, H, W] after each cascade, in the unit of ``kspace``; the last is the result.

        Args:
            kspace: as in :meth:`forward`.
            mask: as in :meth:`forward`.
            sensitivities: those of :meth:`find_sensitivities`.
        """
        operator = SenseOperator(sensitivities, mask)
        zero_filled = operator.adjoint(kspace)
        scale = zero_filled.abs().amax((1, 2, 3), keepdim=True)
        scale = torch.where(scale > 0, scale, 1)
        zero_filled = zero_filled / scale
        image, images = zero_filled, []
        for cascade in range(self.num_cascades):
            consistency = self.data_consistency[cascade % len(self.data_consistency)]
            image = consistency(image + self._regularise(cascade, image), zero_filled, operator)
            images.append(image * scale)
        return images

    def find_sensitivities(self, kspace: Tensor, mask: Tensor, sensitivities: Tensor | None = None) -> Tensor:
        """The coil sensitivities that the network works with, complex [B, C, H, W]: its own, the given ones, or ones.

        Raises:
            InputError: several coils without sensitivities.
        """
        if "sensitivities" not in self.sample_keys:
            return self.sensitivity_network(kspace, mask)
        if sensitivities is not None:
            return sensitivities
        if kspace.shape[1] > 1:
            raise InputError(
                f"network: expected coil sensitivities for the {kspace.shape[1]} coils of UnrolledNetwork, got none; "
                "give them, or set sensitivity_channels"
            )
        return torch.ones_like(kspace)

    def _regularise(self, cascade: int, image: Tensor) -> Tensor:
        """A regulariser's correction of complex images [B, 1, H, W]."""
        if "regulariser" in self._modules:
            network = self.regulariser[cascade % len(self.regulariser)]
            return apply_to_complex(network, image, self._multiple)
        place = cascade % len(self.encoder)
        encoder, decoder = self.encoder[place], self.decoder[place]
        return apply_to_complex(lambda x: decoder(encoder(x)), image, self._multiple)


def _build_regulariser(path: str, args: Mapping[str, Any]) -> nn.Module:
    """A network of two channels whose last layer starts at zero, where that is a convolution."""
    found = network_class({"path": path})
    takes = inspect.signature(found).parameters
    if not set(_TASK) <= set(takes):
        raise InputError(
            f"network: regulariser: expected a network that takes {', '.join(_TASK)}, got {path!r:.200}; choose another"
        )
    if other := next((name for name in _TASK if args.get(name, _TASK[name]) != _TASK[name]), None):
        raise InputError(
            f"network: regulariser_args: {other}: expected {_TASK[other]}, got {args[other]!r:.80}; leave it out"
        )
    small = _SMALL if full_name({"path": path}) == _UNET else {}
    network = found(**check_arguments({"path": path, "args": {**small, **args, **_TASK}}))
    last = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))][-1]
    if isinstance(last, _ConvNd):
        for parameter in last.parameters(recurse=False):
            nn.init.zeros_(parameter)
    return network
