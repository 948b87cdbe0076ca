# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle must say of a model: how a scan becomes what the network knows, and what the network marks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.io.formats import SEGMENTATION, check_task, naming_site
from flare_mri.networks.admitted import PACKAGES, check_arguments, full_name

_SEGMENT = "use flare-mri segment"


@dataclass(frozen=True)
class BundlePlan:
    """All that the files of a bundle say, and no more: neither job nor hospital, nor any path.

    Attributes:
        target: full name of the network's class.
        args: its arguments.
        orientation: axis codes to which scans are turned; None: they stay as they are stored.
        spacing: mm between voxels to which scans are resampled, after that; None: they stay as they are.
        slice_axis: axis of the slices after that, without the channel.
        spatial_size: (H, W) of the slices.
        fit: how slices get to it: `pad` or `resize`.
        batch_size: the most pieces in a batch.
        channel: number of the image to take from 4D files; None: files hold one image, 3D.
        organs: what the classes from 1 are.
        patch_size: (D, H, W) of a 3D network; None: 2.5D.
    """

    target: str
    args: dict[str, Any]
    orientation: str | None
    spacing: tuple[float, float, float] | None
    slice_axis: int
    spatial_size: tuple[int, int]
    fit: str
    batch_size: int
    channel: int | None
    organs: tuple[str, ...]
    patch_size: tuple[int, int, int] | None

    @property
    def own_network(self) -> bool:
        """Whether the network is one of this package, which must be installed to run the bundle."""
        return self.target.startswith(PACKAGES[0])


def plan_bundle(model: PersonalModel, config: SiteConfig) -> BundlePlan:
    """Read from a model and its site's settings what a bundle of it must say.

    Args:
        model: of segmentation, one plain network.
        config: settings of the site, as they were for the job.

    Raises:
        InputError: a model of reconstruction or a routed one, settings that no configuration of MONAI's transforms
            says, or settings that are not the model's.
    """
    with naming_site(config.site):
        _check_model(model)
        if config.members:
            raise InputError(f"{config.file} has pooled_sites, which is for simulated sites; give those of one")
        data, plan = config.data, model.plan
        check_task(data.format, SEGMENTATION)
        if (data.slices.start, data.slices.stop, data.slices.step) != (0, None, 1):
            raise InputError(
                f"{config.file}: data.slices: expected all slices, since a bundle marks whole scans, got a part; leave "
                f"it out, or {_SEGMENT}"
            )
        if data.spatial_size is not None:
            model.check_knows(config.file, data.spatial_size)
        args = check_arguments(model.network)
        _refuse_targets(args)
        return BundlePlan(
            target=full_name(model.network),
            args=args,
            orientation=model.orientations[0] if model.orientations else data.orientation,
            spacing=data.spacing,
            slice_axis=data.find_slice_axis() if model.slice_axis is None else model.slice_axis,
            spatial_size=model.spatial_size,
            fit=data.find_fit(),
            batch_size=model.batch_size,
            channel=getattr(data, "channel", None),  # formats of files of several images have it
            organs=plan.organs,
            patch_size=plan.patch_size,
        )


def _check_model(model: PersonalModel) -> None:
    if model.task != SEGMENTATION:
        raise InputError(
            f"task: expected a model of {SEGMENTATION}, got one of {model.task}, whose input is a measurement with its "
            f"mask and coils: no NIfTI file that MONAI would read holds them, and an image does not say how it was "
            f"undersampled; use flare-mri reconstruct"
        )
    if model.experts:
        raise InputError(
            f"experts: expected one plain network, got a routed one over {len(model.experts)} models, which depends on "
            f"the batch that it sees; make it anew with --strategy matched, or {_SEGMENT}"
        )
    if len(model.orientations) > 1:
        raise InputError(
            f"orientations: expected volumes of one orientation, got {', '.join(model.orientations)}, of which every "
            f"scan keeps its own; set data.orientation for the job, or {_SEGMENT}"
        )


def _refuse_targets(value: Any) -> None:
    """MONAI calls whatever a key `_target_` of its configuration names: none may come from a model's file."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not str(key).isidentifier() or str(key).startswith("_"):
                raise InputError(f"network args: expected names such as channels, got {key!r:.80}; correct the job")
            _refuse_targets(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_targets(item)
