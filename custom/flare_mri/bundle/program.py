# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A network with its weights as a program of ``torch.export``, which runs without the code of any network."""

import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from flare_mri.bundle.plan import BundlePlan
from flare_mri.errors import InputError

_TRACED, _CHECKED = 2, 3  # sizes of the batches to trace with and to compare with


def pack_program(network: nn.Module, plan: BundlePlan) -> bytes:
    """The content of a ``.pt2`` file, for ``torch.export.load``.

    The program takes what the network does, batches of any number of slices or patches of the size that the model
    learned from, of a model of several coils any number of coils. It is compared with the network before it is given.

    Args:
        network: in evaluation mode, on the CPU.
        plan: of its bundle.

    Raises:
        InputError: what the network does depends on the values of its input (as conjugate gradients, and networks that
            look for the centre of a mask), or the program gives something else than the network.
    """
    traced, checked = plan.make_inputs(_TRACED), plan.make_inputs(_CHECKED)
    sizes = tuple(_find_free_axes(tensor) for tensor in traced)
    try:
        with torch.no_grad():
            program = torch.export.export(network, traced, dynamic_shapes=sizes)
            differs = _differ(program.module()(*checked), network(*checked))
    except Exception as error:  # whatever PyTorch raises, it was the network's code
        why = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"torch_export: expected a network that torch.export can trace, got {plan.class_name} "
            f"({type(error).__name__}: {why:.120}); leave the option out"
        ) from error
    if differs:
        raise InputError(
            f"torch_export: expected a program that gives what the network gives, got other values of "
            f"{plan.class_name}; leave the option out"
        )
    _forget_source(program)
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _find_free_axes(tensor: Tensor) -> dict[int, Any]:
    """The batch, and of k-space and sensitivities of several coils the coils."""
    coils = {1: Dim.AUTO} if tensor.is_complex() and tensor.shape[1] > 1 else {}
    return {0: Dim.AUTO, **coils}


def _differ(found: Any, wanted: Tensor) -> bool:
    return not torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def _forget_source(program: ExportedProgram) -> None:
    """Removes the lines of code that each step came from, with their paths on this machine."""
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)
