# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Layers whose kernels are mixed anew for every sample (IOP-FL's outside site; Jiang et al., arXiv 2204.08467).

With experts :math:`W_1 \dots W_E` of equal shape, sample b meets

.. math:: W_b = \sum_e r_{b,e} W_e, \qquad r_b = \sigma(F_2(\mathrm{dropout}(F_1(\mathrm{pool}(x_b)))))

and bias alike. The experts are constants (buffers); what learns is the router. The routing weights lie in (0, 1) and
need not sum to 1: the norm after a convolution takes the scale out again.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flare_mri.routing.mixing import PATCHED_VOXELS, choose, kernel_product, mix, output_product
from flare_mri.routing.patches import Sizes, output_size, patches

# By the number of spatial axes.
_CONVOLUTION = {2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Router(nn.Module):
    """From the pooled features of a sample to one weight in (0, 1) for each expert.

    Args:
        features: C, channels of the layer's input.
        num_experts: E.
        dropout: between the two linear maps, while training.
        hidden_ratio: the hidden width is ``hidden_ratio * features``.
    """

    fixed: Tensor | None

    def __init__(self, features: int, num_experts: int, dropout: float = 0.2, hidden_ratio: int = 2):
        super().__init__()
        self.fc1 = nn.Linear(features, hidden_ratio * features)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden_ratio * features, num_experts)
        self.register_buffer("fixed", None, persistent=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, C] -> [B, E]; the same ``fixed`` row for all samples where one is set."""
        if self.fixed is not None:
            return self.fixed.expand(len(pooled), -1)
        return self.fc2(self.dropout(self.fc1(pooled))).sigmoid()


class RoutedLayer(nn.Module):
    """Base of the routed layers: the stacked experts and the router.

    Args:
        features: C, channels of the layer's input.
        weights: the experts' weights, [E, *shape of the layer's weight].
        biases: the experts' biases, [E, O], or None.
        dropout: of the :class:`Router`.
        hidden_ratio: of the :class:`Router`.
    """

    weights: Tensor
    biases: Tensor | None

    def __init__(self, features: int, weights: Tensor, biases: Tensor | None, dropout: float, hidden_ratio: int):
        super().__init__()
        self.register_buffer("weights", weights.contiguous())
        self.register_buffer("biases", biases)
        self.router = Router(features, len(weights), dropout, hidden_ratio).to(weights)

    def _experts(self, *order: int) -> Tensor:
        """The experts with their axes in ``order``, contiguous. They are kept in the order last asked for, so that
        bringing them into it costs once; the shape of ``weights`` stays that of the layer's weight."""
        ordered = self.weights.permute(order)
        if not ordered.is_contiguous():
            with torch.inference_mode(False):  # whoever predicts in that mode may adapt afterwards
                ordered = ordered.contiguous()
            self.weights = ordered.permute([order.index(axis) for axis in range(len(order))])
        return ordered

    def _mix_biases(self, routing: Tensor) -> Tensor | None:
        """[B, E] -> [B, O], or None for a layer without bias."""
        return None if self.biases is None else routing @ self.biases

    def extra_repr(self) -> str:
        return f"experts={len(self.weights)}, weight={tuple(self.weights.shape[1:])}, bias={self.biases is not None}"


class RoutedConv(RoutedLayer):
    """``nn.Conv2d`` or ``nn.Conv3d`` with experts; stride, padding, dilation and groups are those of ``layer``."""

    def __init__(
        self,
        layer: nn.Conv2d | nn.Conv3d,
        weights: Tensor,
        biases: Tensor | None,
        dropout: float = 0.2,
        hidden_ratio: int = 2,
    ):
        super().__init__(layer.in_channels, weights, biases, dropout, hidden_ratio)
        self.kernel_size: Sizes = tuple(weights.shape[3:])
        self.stride: Sizes = layer.stride
        self.dilation: Sizes = layer.dilation
        self.groups = layer.groups
        # "same" padding and the modes other than zeros are applied beforehand, as PyTorch's own layers do.
        pads_first = isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        self.pad_first = list(layer._reversed_padding_repeated_twice) if pads_first else []
        self.pad_mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self.padding: Sizes = (0,) * len(self.kernel_size) if pads_first else layer.padding  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, (D,) H, W] -> [B, O, (D',) H', W']."""
        routing = self.router(_pool(x))
        biases = self._mix_biases(routing)
        if self.pad_first:
            x = F.pad(x, self.pad_first, mode=self.pad_mode)
        geometry = (self.kernel_size, self.padding, self.stride, self.dilation)
        size = output_size(x.shape, *geometry)
        learning = torch.is_grad_enabled() and (x.requires_grad or routing.requires_grad)
        pixels = math.prod(size)
        as_patches = self.groups == 1 and (len(size) == 2 or pixels <= PATCHED_VOXELS)
        way = choose(len(self.weights), pixels, as_patches, learning)
        axes = range(self.weights.dim())
        if way == "grouped":
            y = _CONVOLUTION[len(size)](
                x.reshape(1, -1, *x.shape[2:]),
                mix(routing, self._experts(*axes)).flatten(0, 1),
                None if biases is None else biases.flatten(),
                self.stride,
                self.padding,
                self.dilation,
                len(x) * self.groups,
            )
            return y.view(len(x), -1, *size)
        product = kernel_product if way == "patches" else output_product
        y = product(routing, self._experts(0, 1, *axes[3:], 2).flatten(2), patches(x, *geometry))
        if biases is not None:
            y = y + biases[:, :, None]
        return y.view(len(x), -1, *size)


class RoutedConvTranspose(RoutedLayer):
    """``nn.ConvTranspose2d`` or ``nn.ConvTranspose3d`` with experts; geometry is that of ``layer``."""

    def __init__(
        self,
        layer: nn.ConvTranspose2d | nn.ConvTranspose3d,
        weights: Tensor,
        biases: Tensor | None,
        dropout: float = 0.2,
        hidden_ratio: int = 2,
    ):
        super().__init__(layer.in_channels, weights, biases, dropout, hidden_ratio)
        self.kernel_size: Sizes = tuple(weights.shape[3:])
        self.stride: Sizes = layer.stride
        self.dilation: Sizes = layer.dilation
        self.groups = layer.groups
        self.padding: Sizes = layer.padding  # type: ignore[assignment]
        self.output_padding: Sizes = layer.output_padding
        # The usual upsampling: as the kernels do not overlap, each input pixel becomes one tile of the output.
        plain = set(self.dilation) == {1} and not any((*self.padding, *self.output_padding)) and self.groups == 1
        self.tiles = plain and self.stride == self.kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, (D,) H, W] -> [B, O, (D',) H', W']."""
        routing = self.router(_pool(x))
        biases = self._mix_biases(routing)
        axes = range(self.weights.dim())
        if not self.tiles:
            y = _TRANSPOSED[len(self.kernel_size)](
                x.reshape(1, -1, *x.shape[2:]),
                mix(routing, self.weights).flatten(0, 1),
                None if biases is None else biases.flatten(),
                self.stride,
                self.padding,
                self.output_padding,
                len(x) * self.groups,
                self.dilation,
            )
            return y.view(len(x), -1, *y.shape[2:])
        tiles = kernel_product(routing, self._experts(0, *axes[2:], 1).flatten(1, -2), x.flatten(2).transpose(1, 2))
        y = _join_tiles(tiles.view(len(x), -1, *self.kernel_size, *x.shape[2:]))
        return y if biases is None else y + biases.view(*biases.shape, *[1] * len(self.kernel_size))


def _pool(x: Tensor) -> Tensor:
    """Global average pooling, [B, C, ...] -> [B, C]. Unlike ``mean`` its gradient is a view, not one more image."""
    return x.sum(tuple(range(2, x.dim()))) / math.prod(x.shape[2:])


def _join_tiles(tiles: Tensor) -> Tensor:
    """[B, O, kh, kw, H, W] -> [B, O, H * kh, W * kw], for any number of axes: as ``F.pixel_shuffle``, faster."""
    count = tiles.dim() // 2 - 1
    pairs = [axis for index in range(2, 2 + count) for axis in (index + count, index)]
    sizes = [tiles.shape[index] * tiles.shape[index + count] for index in range(2, 2 + count)]
    return tiles.permute(0, 1, *pairs).reshape(*tiles.shape[:2], *sizes)


class RoutedLinear(RoutedLayer):
    """``nn.Linear`` with experts; a sample may hold several positions (tokens), over which its router pools."""

    def __init__(
        self, layer: nn.Linear, weights: Tensor, biases: Tensor | None, dropout: float = 0.2, hidden_ratio: int = 2
    ):
        super().__init__(layer.in_features, weights, biases, dropout, hidden_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ..., C] -> [B, ..., O]."""
        tokens = x.reshape(len(x), -1, x.shape[-1])
        routing = self.router(tokens.mean(1))
        learning = torch.is_grad_enabled() and (x.requires_grad or routing.requires_grad)
        way = choose(len(self.weights), tokens.shape[1], True, learning)
        product = output_product if way == "outputs" else kernel_product
        y = product(routing, self.weights, tokens).transpose(1, 2)
        biases = self._mix_biases(routing)
        if biases is not None:
            y = y + biases[:, None]
        return y.reshape(*x.shape[:-1], -1)
