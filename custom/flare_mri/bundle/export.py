# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a hospital's model as a MONAI bundle."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flare_mri.atomic_file import write_atomically
from flare_mri.bundle.metadata import describe_reconstruction, describe_segmentation
from flare_mri.bundle.plan import BundlePlan
from flare_mri.bundle.program import pack_program
from flare_mri.bundle.reconstruction_config import reconstruction_config
from flare_mri.bundle.reconstruction_plan import plan_reconstruction
from flare_mri.bundle.segmentation_config import segmentation_config
from flare_mri.bundle.segmentation_plan import plan_segmentation
from flare_mri.bundle.texts import licence, reconstruction_readme, segmentation_readme
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION
from flare_mri.tensor_file import pack_tensors

NAME = "bundle"
"""Stands for job and hospital in what is exported."""
WEIGHTS = "models/model.pt"


@dataclass(frozen=True)
class _Writer:
    """What a task's bundle says, and its files from that."""

    plan: Callable[[PersonalModel, SiteConfig], Any]
    config: Callable[[Any], dict[str, Any]]
    metadata: Callable[[Any], dict[str, Any]]
    readme: Callable[[Any], str]


_WRITERS = {
    SEGMENTATION: _Writer(plan_segmentation, segmentation_config, describe_segmentation, segmentation_readme),
    RECONSTRUCTION: _Writer(plan_reconstruction, reconstruction_config, describe_reconstruction, reconstruction_readme),
}


def export_bundle(model: PersonalModel, config: SiteConfig, out: Path, program: bool = False) -> BundlePlan:
    """Write a folder that ``python -m monai.bundle run`` runs, with the results of the model itself.

    These are of :class:`~flare_mri.inference.segmentation.Segmenter`, and of undersampled raw scans by
    :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor`. Only the owner may list the folders (mode 0700)
    and read the files (0600). They name neither job nor hospital.

    Args:
        model: one plain network, also one that `matched` made for a hospital outside.
        config: settings of its site, as they were for the job.
        out: folder for the bundle; it is made, or is there and empty.
        program: whether it has the network as an exported program too, see :mod:`flare_mri.bundle.program`.

    Returns:
        What the bundle says.

    Raises:
        InputError: as :func:`~flare_mri.bundle.segmentation_plan.plan_segmentation`,
            :func:`~flare_mri.bundle.reconstruction_plan.plan_reconstruction` and
            :func:`~flare_mri.bundle.program.pack_program`; a state that does not fit the network, a folder that holds
            something, or one that cannot be written to.
    """
    writer = _WRITERS[model.task]
    plan: BundlePlan = writer.plan(model, config)
    network = model.build()  # checked: keys, shapes and types of its state, all finite
    state = network.state_dict()
    _check_empty(out)
    # nothing of patients goes along, nor the names that a hospital gives its protocols
    acquisition = model.acquisition and replace(model.acquisition, contrasts=())
    nameless = replace(
        model, job=NAME, site=NAME, organ_sizes=None, own_dice=None, distance=None, acquisition=acquisition
    )
    files = {
        "configs/metadata.json": _json(writer.metadata(plan)),
        "configs/inference.json": _json(writer.config(plan)),
        "docs/README.md": writer.readme(plan).encode(),
        "LICENSE": licence().encode(),
        WEIGHTS: _pickle(state),
        "models/model.safetensors": pack_tensors(state, nameless.description())[0],
    }
    if program:
        files["models/model.pt2"] = pack_program(network, plan)
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
