# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Applying a mix of experts to a batch: every sample has its own kernels, and there is no loop over samples.

Sample b wants :math:`y_b = (\sum_e r_{b,e} W_e) * x_b`. The sum may be taken before or after the convolution:

- **kernel mixing**: all kernels of the batch are one matrix product, [B, E] @ [E, weights]; then one grouped
  convolution with the batch folded into the channels or, where the image is small, one batched product over patches;
- **output mixing**: every expert is applied to every sample in one product, then the E outputs are mixed by r.

Kernel mixing multiplies once for each sample, output mixing E times, but the former must write and read B sets of
kernels. Which is cheaper depends on the number L of output pixels and on whether gradients follow; ``choose`` compares
them. In 3D as in 2D, but that the patches of a large volume, 27 times its size for a 3x3x3 kernel, are never copied.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

# Costs for each sample and kernel weight, in multiply-adds of a convolution (measured: Xeon, AVX-512, float32).
WRITE_KERNELS = 30.0  # mix one weight from the experts, write it and read it back
REORDER_KERNELS = 50.0  # a grouped convolution first brings its kernels into its own layout
PATCH_PRODUCT = 1.5  # a batched product over copied patches, against a convolution on the image
PATCHED_VOXELS = 128  # the most of a volume: above (measured at 6x6x6) the grouped convolution is always the fastest
# The gradient takes two more products, and besides:
KERNEL_GRADIENTS = 100.0  # mix the weight anew, write its gradient and bring that to the experts
REORDER_GRADIENTS = 150.0  # into the grouped convolution's layout and back

# Mixed kernels are made and used in pieces of at most so many samples and floats, each in the memory of the one before:
# all kernels of a deep layer (75 MB for a batch of 8) would leave the cache, and mapping as much new memory at each
# call costs more than the product itself. Smaller pieces (5 MB at 4x4 pixels, 19 MB from 8x8) stay nearer to the core,
# which counts the more the fewer pixels a kernel is read for; too small ones have too few rows for a fast product.
PIECE, PIECE_PER_PIXEL = 4_800_000, 75_000
PIECE_SAMPLES = 8


def choose(num_experts: int, num_pixels: int, as_patches: bool, learning: bool = False) -> str:
    """The cheapest way to apply a mix of ``num_experts`` experts that yields ``num_pixels`` output pixels a sample.

    Args:
        num_experts: E.
        num_pixels: L, output positions of a sample (pixels of a convolution, tokens of a linear layer).
        as_patches: the layer can be written as a product over patches (a grouped or transposed one cannot, nor can one
            of volumes with more than ``PATCHED_VOXELS`` output voxels).
        learning: gradients of the routing weights and of the input will be asked for. Output mixing gets the former
            from its outputs, kernel mixing by a product as large as the layer's own; both get the latter by kernels.

    Returns:
        "grouped" (kernel mixing, grouped convolution), "patches" (kernel mixing, batched product) or "outputs".
    """
    if not as_patches:
        return "grouped"
    products = 3 if learning else 1
    costs = {
        "grouped": WRITE_KERNELS + REORDER_KERNELS + products * num_pixels,
        "patches": WRITE_KERNELS + PATCH_PRODUCT * products * num_pixels,
        "outputs": float(num_experts * num_pixels),
    }
    if learning:
        costs["grouped"] += KERNEL_GRADIENTS + REORDER_GRADIENTS
        costs["patches"] += KERNEL_GRADIENTS
        costs["outputs"] += WRITE_KERNELS + PATCH_PRODUCT * num_pixels
    return min(costs, key=lambda way: costs[way])


def mix(routing: Tensor, experts: Tensor) -> Tensor:
    r""":math:`\sum_e r_{b,e} W_e`: routing [B, E] and experts [E, ...] give [B, ...], by one matrix product."""
    return (routing @ experts.flatten(1)).view(len(routing), *experts.shape[1:])


def kernel_product(routing: Tensor, experts: Tensor, columns: Tensor) -> Tensor:
    r"""Kernel mixing: :math:`y_b = (\sum_e r_{b,e} W_e)\, x_b`.

    Args:
        routing: r, [B, E].
        experts: W, [E, O, K]; constant, no gradient flows to it.
        columns: x, [B, L, K].

    Returns:
        y, [B, O, L].
    """
    product: Tensor = _KernelProduct.apply(routing, experts, columns)
    return product


def output_product(routing: Tensor, experts: Tensor, columns: Tensor) -> Tensor:
    r"""Output mixing: :math:`y_b = \sum_e r_{b,e} (W_e x_b)`; arguments and result as in :func:`kernel_product`."""
    product: Tensor = _OutputProduct.apply(routing, experts, columns)
    return product


class _KernelProduct(torch.autograd.Function):
    """Kernel mixing in pieces of output rows. Kernels are mixed anew for the gradient rather than kept for it:
    B sets of kernels for each layer would need far more memory than the experts, and mixing is the cheap part."""

    @staticmethod
    def forward(ctx: FunctionCtx, routing: Tensor, experts: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(routing, experts, columns)
        product = columns.new_empty(len(columns), experts.shape[1], columns.shape[1])
        # BLAS is up to five times slower with few rows and many columns of a matrix that it must transpose itself.
        pixels_last = columns.transpose(1, 2).contiguous()
        for samples, rows, kernels in _mix_pieces(routing, experts, columns.shape[1]):
            part = product[samples, rows]
            if part.is_contiguous():
                torch.bmm(kernels, pixels_last[samples], out=part)
            else:  # written into its gaps the product would be computed sample by sample
                part.copy_(torch.bmm(kernels, pixels_last[samples]))
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        routing, experts, columns = ctx.saved_tensors
        grad_routing = torch.zeros_like(routing) if ctx.needs_input_grad[0] else None
        grad_columns = columns.new_empty(columns.shape) if ctx.needs_input_grad[2] else None
        for samples, rows, kernels in _mix_pieces(routing, experts, grad.shape[2]):
            part = grad[samples, rows]
            if grad_columns is not None:
                _add_product(grad_columns[samples], kernels, part, rows)
            if grad_routing is not None:
                torch.bmm(part, columns[samples], out=kernels)
                # Row by row and then summed: BLAS is slow at one product with [E, B] results and a very long sum.
                by_row = torch.bmm(experts[:, rows].transpose(0, 1), kernels.permute(1, 2, 0))
                grad_routing[samples] += by_row.sum(0).t()
        if grad_columns is not None and not columns.is_contiguous():  # an image, pixels last: its gradient alike
            grad_columns = grad_columns.transpose(1, 2).contiguous().transpose(1, 2)
        return grad_routing, None, grad_columns


class _OutputProduct(torch.autograd.Function):
    """Output mixing. Each way gives what it has at hand: the experts' outputs are the gradient of the routing weights,
    and the gradient of the input, in which the experts come mixed, is kernel mixing again: no E products."""

    @staticmethod
    def forward(ctx: FunctionCtx, routing: Tensor, experts: Tensor, columns: Tensor) -> Tensor:
        batch, pixels, width = columns.shape
        outputs = experts.flatten(0, 1) @ columns.reshape(batch * pixels, width).t().contiguous()
        outputs = outputs.view(*experts.shape[:2], batch, pixels)
        ctx.save_for_backward(routing, experts, outputs)
        # data: of einsum's own view autograd would let no layer after this one work in place, as SegResNet's do
        return torch.einsum("be,eobl->bol", routing, outputs).data

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        routing, experts, outputs = ctx.saved_tensors
        grad_routing = torch.einsum("bol,eobl->be", grad, outputs) if ctx.needs_input_grad[0] else None
        grad_columns = None
        if ctx.needs_input_grad[2]:
            grad_columns = grad.new_empty(len(grad), grad.shape[2], experts.shape[2])
            for samples, rows, kernels in _mix_pieces(routing, experts, grad.shape[2]):
                _add_product(grad_columns[samples], kernels, grad[samples, rows], rows)
        return grad_routing, None, grad_columns


def _add_product(grad_columns: Tensor, kernels: Tensor, grad: Tensor, rows: slice) -> None:
    """Contribution of a piece of output rows to the input's gradient; the first rows overwrite what the memory held."""
    grad_columns.baddbmm_(grad.transpose(1, 2), kernels, beta=0 if rows.start == 0 else 1)


def _mix_pieces(routing: Tensor, experts: Tensor, pixels: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Samples, rows and their mixed kernels [b, o, K], in memory that the next piece overwrites."""
    batch, (_, height, width) = len(routing), experts.shape
    samples = min(batch, PIECE_SAMPLES)
    rows = min(height, max(1, min(PIECE, PIECE_PER_PIXEL * pixels) // (samples * width)))
    scratch, flat = routing.new_empty(samples * rows * width), experts.flatten(1)
    for top in range(0, height, rows):
        chosen = flat[:, top * width : (top + rows) * width]  # a view: BLAS takes its row stride
        for first in range(0, batch, samples):
            weights = routing[first : first + samples]
            kernels = scratch[: len(weights) * chosen.shape[1]].view(len(weights), -1)
            torch.mm(weights, chosen, out=kernels)
            piece = kernels.view(len(weights), -1, width)
            yield slice(first, first + len(weights)), slice(top, top + piece.shape[1]), piece
