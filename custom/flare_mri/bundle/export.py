# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a hospital's model as a MONAI bundle."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flare_mri.atomic_file import write_atomically
from flare_mri.bundle.inference import inference_config
from flare_mri.bundle.metadata import describe_bundle
from flare_mri.bundle.plan import BundlePlan, plan_bundle
from flare_mri.bundle.texts import licence, readme
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.tensor_file import pack_tensors

NAME = "bundle"
"""Stands for job and hospital in what is exported."""
WEIGHTS = "models/model.pt"


def export_bundle(model: PersonalModel, config: SiteConfig, out: Path) -> BundlePlan:
    """Write a folder that ``python -m monai.bundle run`` runs, as :class:`~flare_mri.inference.segmentation.Segmenter`.

    Only the owner may list the folders (mode 0700) and read the files (0600). They name neither job nor hospital.

    Args:
        model: of segmentation, one plain network, also one that `matched` made for a hospital outside.
        config: settings of its site, as they were for the job.
        out: folder for the bundle; it is made, or is there and empty.

    Returns:
        What the bundle says.

    Raises:
        InputError: as :func:`~flare_mri.bundle.plan.plan_bundle`; a state that does not fit the network, a folder that
            holds something, or one that cannot be written to.
    """
    plan = plan_bundle(model, config)
    state = model.build().state_dict()  # checked: its keys, shapes and types, all finite
    _check_empty(out)
    nameless = replace(model, job=NAME, site=NAME).description()
    files = {
        "configs/metadata.json": _json(describe_bundle(plan)),
        "configs/inference.json": _json(inference_config(plan)),
        "docs/README.md": readme(plan).encode(),
        "LICENSE": licence().encode(),
        WEIGHTS: _pickle(state),
        "models/model.safetensors": pack_tensors(state, nameless)[0],
    }
    for folder in (out, *(out / name for name in ("configs", "docs", "models"))):
        private_folder(folder, "out")
    for name, content in files.items():
        write_atomically(out / name, content, mode=0o600, replace=False)
    return plan


def _check_empty(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for the bundle, got a file; choose another path")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: expected an empty folder, or none, got one that holds something; choose another")


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=4) + "\n").encode()


def _pickle(state: Mapping[str, Tensor]) -> bytes:
    """A plain dict of tensors, which ``torch.load`` reads with ``weights_only=True``."""
    content = io.BytesIO()
    torch.save({key: value.detach().cpu().clone() for key, value in state.items()}, content)
    return content.getvalue()
