# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Complex images through networks of two real channels."""

from collections.abc import Callable

import torch
from monai.apps.reconstruction.networks.nets.utils import divisible_pad_t, inverse_divisible_pad_t
from torch import Tensor

from flare_mri.errors import InputError


def apply_to_complex(network: Callable[[Tensor], Tensor], images: Tensor, multiple: int) -> Tensor:
    """Call a network on real and imaginary parts as two channels, whatever the size of the images.

    Args:
        network: [N, 2, H', W'] -> the same shape.
        images: complex [N, 1, H, W], padded with zeros on all sides for the network and cropped after it.
        multiple: a power of 2 that H' and W' are multiples of.

    Returns:
        complex [N, 1, H, W], of the precision of the images, whatever that of the network (mixed precision).

    Raises:
        InputError: the network's output has another shape than its input.
    """
    pairs = torch.view_as_real(images[:, 0]).movedim(-1, 1)
    padded, padding = divisible_pad_t(pairs, k=multiple)
    output = network(padded)
    if not isinstance(output, Tensor) or output.shape != padded.shape:
        got = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"network: expected an output of shape {list(padded.shape)} as its input, got {got}; set no deep "
            "supervision, or choose another one"
        )
    cropped = inverse_divisible_pad_t(output, padding).to(pairs.dtype).movedim(1, -1)
    return torch.view_as_complex(cropped.contiguous())[:, None]
