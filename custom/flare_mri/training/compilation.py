# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""torch.compile of a network, where a site's settings ask for it."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.folders import private_folder

_CODE = "TORCHINDUCTOR_CACHE_DIR"
_PARTS = ("encoder", "decoder", "regulariser")


class _Trial(nn.Module):
    """Something that code must be made for, unlike a convolution; PyTorch's own modules are not compiled alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin().cos()


def prepare_compilation(folder: Path, device: torch.device, site: str) -> None:
    """See that this machine can compile, before the first round, and keep what it compiles to this user.

    PyTorch compiles into a folder of a known name under /tmp, from where it also loads code: whoever makes that folder
    first has his code run. It is put under `folder` instead, for this process and those that it starts, unless
    ``$TORCHINDUCTOR_CACHE_DIR`` already says where; there a next process finds what this one compiled.

    Args:
        folder: the site's own.
        device: where it trains.
        site: for messages.

    Raises:
        InputError: nothing can be compiled here, or the folder is not this user's alone.
    """
    code = Path(os.environ.get(_CODE) or folder / "compiled")
    private_folder(code, f"site {site}: compiled code")
    os.environ[_CODE] = str(code)
    trial = _Trial()
    compile_network(trial)
    try:
        trial(torch.ones(2, 2, device=device, requires_grad=True)).sum().backward()
    except Exception as e:  # of Dynamo, of Inductor, of the compiler that it calls: none of them works then
        told = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise InputError(
            f"site {site}: compile: expected a machine on which torch.compile works, got {type(e).__name__}: "
            f"{told:.300}; install a C++ compiler (for a GPU: Triton), or set compile: false"
        ) from e


def compile_network(network: nn.Module) -> None:
    """Compile a network in place: its keys and numbers stay, copies of it are not compiled.

    Of an unrolled or a dual-domain network the parts that compute with real numbers are compiled, since PyTorch has no
    code for complex ones. Every size of a batch is compiled by itself when it first comes (with sizes as symbols
    Inductor of torch 2.13 fails on the U-Net's instance norms); after eight sizes PyTorch leaves others as they are.
    """
    import torch._inductor.config as inductor  # takes a second, and is of no use to other sites

    inductor.compile_threads = 1  # here, not in processes of its own, which outlive one that is killed
    parts = [getattr(network, name) for name in _PARTS if isinstance(getattr(network, name, None), nn.Module)]
    for part in parts or [network]:
        for module in part.children() if isinstance(part, nn.ModuleList | nn.ModuleDict) else [part]:
            module.compile(dynamic=False)
