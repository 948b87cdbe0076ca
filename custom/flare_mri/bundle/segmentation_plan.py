# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle must say of segmentation: how a scan becomes what the network knows, and what the network marks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flare_mri.bundle.plan import BundlePlan, describe_network, refuse_pooled
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.io.formats import SEGMENTATION, check_task, naming_site

_SEGMENT = "use flare-mri segment"


@dataclass(frozen=True)
class SegmentationBundle(BundlePlan):
    """What a bundle says of a model of segmentation.

    Attributes:
        orientation: axis codes to which scans are turned; None: they stay as they are stored.
        spacing: mm between voxels to which scans are resampled, after that; None: they stay as they are.
        slice_axis: axis of the slices after that, without the channel.
        spatial_size: (H, W) of the slices.
        fit: how slices get to it: `pad` or `resize`.
        inverted: whether images are taken as their negatives.
        batch_size: the most pieces in a batch.
        channel: number of the image to take from 4D files; None: files hold one image, 3D.
        organs: what the classes from 1 are.
        patch_size: (D, H, W) of a 3D network; None: 2.5D.
    """

    orientation: str | None
    spacing: tuple[float, float, float] | None
    slice_axis: int
    spatial_size: tuple[int, int]
    fit: str
    inverted: bool
    batch_size: int
    channel: int | None
    organs: tuple[str, ...]
    patch_size: tuple[int, int, int] | None

    @property
    def subject(self) -> str:
        return ", ".join(self.organs)

    @property
    def channels(self) -> tuple[str, ...]:
        """What those of the network's input are."""
        return ("slice before", "slice", "slice after") if self.patch_size is None else ("image",)

    def make_inputs(self, count: int) -> tuple[Tensor, ...]:
        return (torch.randn(count, len(self.channels), *(self.patch_size or self.spatial_size)),)


def plan_segmentation(model: PersonalModel, config: SiteConfig) -> SegmentationBundle:
    """Read from a model and its site's settings what a bundle of it must say.

    Args:
        model: of segmentation, one plain network.
        config: settings of the site, as they were for the job.

    Raises:
        InputError: a routed model, settings that no configuration of MONAI's transforms says, or settings that are not
            the model's.
    """
    with naming_site(config.site):
        _check_model(model)
        refuse_pooled(config)
        data, plan = config.data, model.plan
        check_task(data.format, SEGMENTATION)
        if (data.slices.start, data.slices.stop, data.slices.step) != (0, None, 1):
            raise InputError(
                f"{config.file}: data.slices: expected all slices, since a bundle marks whole scans, got a part; leave "
                f"it out, or {_SEGMENT}"
            )
        if data.spatial_size is not None:
            model.check_knows(config.file, data.spatial_size)
        return SegmentationBundle(
            *describe_network(model),
            orientation=model.orientations[0] if model.orientations else data.orientation,
            spacing=data.spacing,
            slice_axis=data.find_slice_axis() if model.slice_axis is None else model.slice_axis,
            spatial_size=model.spatial_size,
            fit=data.find_fit(),
            inverted=data.is_inverted(),
            batch_size=model.batch_size,
            channel=getattr(data, "channel", None),  # formats of files of several images have it
            organs=plan.organs,
            patch_size=plan.patch_size,
        )


def _check_model(model: PersonalModel) -> None:
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
