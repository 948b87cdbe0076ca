# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Pipelines of whole volumes, run once a scan: from files to the slices of a task, and back to the scan's own grid."""

from typing import Any

from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    NormalizeIntensityd,
    Orientationd,
    Resized,
    ResizeWithPadOrCropd,
    ScaleIntensityd,
    Spacingd,
)

from flare_mri.config.segmentation import IGNORED
from flare_mri.errors import InputError
from flare_mri.io.load import LoadScand
from flare_mri.transforms.checks import CheckImaged, CheckLabeld, CheckMagnitudesd
from flare_mri.transforms.kspace import CropKspaced
from flare_mri.transforms.labels import CoverToLabeld, KeepLabeld, LabelToCoverd

IMAGE, LABEL = "image", "label"


def reconstruction_volume(settings: Any, orientation: str | None, slice_axis: int) -> Compose:
    """From a scan to magnitudes [1, I, J, K] at the resolution of `data.spatial_size`.

    Args:
        settings: `data` of site.yaml.
        orientation: axis codes to which the scan is turned; None: as it is stored.
        slice_axis: axis of the slices after that.
    """
    steps = _read_placed((IMAGE,), settings, orientation, ("bilinear",))
    steps.append(CheckMagnitudesd(IMAGE, slice_axis, settings.slices))
    if settings.spatial_size is not None:
        steps.append(CropKspaced(IMAGE, settings.spatial_size, slice_axis))
    return Compose(steps)


def segmentation_volume(settings: Any, orientation: str | None, slice_axis: int, labelled: bool) -> Compose:
    """From a scan to a z-scored image and its label, both [1, I, J, K], at the size of `data.spatial_size`.

    A label holds the numbers of the site's organs from 1, in the order of `data.find_labels()`, and
    :data:`~flare_mri.config.segmentation.IGNORED` where the truth is not known.

    Args:
        settings: `data` of site.yaml.
        orientation: axis codes to which the scan is turned; None: as it is stored.
        slice_axis: axis of the slices after that.
        labelled: whether there is a label.
    """
    keys = (IMAGE, LABEL) if labelled else (IMAGE,)
    checks: list[Any] = [CheckImaged(IMAGE)]
    organs = settings.find_labels() if labelled else {}
    numbers = [*range(1, 1 + (1 if organs is None else len(organs))), IGNORED]
    checks += [label_check(settings)] if labelled else []
    steps = _read_placed(keys, settings, orientation, ("bilinear", "nearest")[: len(keys)], checks)
    steps.append(NormalizeIntensityd(IMAGE))
    steps += [ScaleIntensityd(IMAGE, minv=None, maxv=None, factor=-2.0)] if settings.is_inverted() else []
    if settings.spatial_size is None:
        return Compose(steps)
    size: list[int] = list(settings.spatial_size)
    size.insert(slice_axis, -1)
    if settings.find_fit() == "pad":
        steps += [KeepLabeld(LABEL, size, slice_axis)] if labelled else []
        steps.append(ResizeWithPadOrCropd(keys, size))
    else:
        steps += [LabelToCoverd(LABEL, numbers)] if labelled else []
        steps.append(Resized(keys, size, mode="bilinear", anti_aliasing=True))
        steps += [CoverToLabeld(LABEL, numbers, slice_axis)] if labelled else []
    return Compose(steps)


def label_check(settings: Any) -> CheckLabeld:
    """From the values of label files to the numbers of a site's organs, as `data` of site.yaml says."""
    white = 255 if settings.format == "datalist_2d" else None  # FLARE's 2D example stores the organ in white
    ignored = getattr(settings, "ignore_label", None)  # a phantom has none
    return CheckLabeld(LABEL, IMAGE, settings.find_labels(), ignored, white)


def _read_placed(
    keys: tuple[str, ...], settings: Any, orientation: str | None, modes: tuple[str, ...], checks: Any = ()
) -> list[Any]:
    """Read, check, turn and resample."""
    steps: list[Any] = [LoadScand(keys), *checks, EnsureChannelFirstd(keys, channel_dim="no_channel")]
    if orientation is not None:
        steps.append(Orientationd(keys, axcodes=orientation, labels=None))
    if settings.spacing is not None:
        steps.append(Spacingd(keys, pixdim=settings.spacing, mode=modes))
    return steps


def run_pipeline(pipeline: Compose, item: dict[str, Any]) -> dict[str, Any]:
    """The item that a pipeline makes.

    Raises:
        InputError: of a transform, where MONAI would raise a RuntimeError that names the transform alone.
    """
    try:
        return pipeline(item)
    except RuntimeError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def to_scan_grid(output: MetaTensor, pipeline: Compose, item: dict[str, Any], nearest: bool) -> MetaTensor:
    """A result of a network on the scan's own voxels, [I, J, K] in the stored order of axes.

    Args:
        output: [1, I, J, K], of the shape that the pipeline gave.
        pipeline: turned the scan into `item`.
        item: of the pipeline; its image holds the operations to undo.
        nearest: whether values are labels, which are not to be mixed.
    """
    image = item[IMAGE]
    entries: dict[Any, Any] = {**item}
    entries["result"] = MetaTensor(output, meta=image.meta, applied_operations=image.applied_operations)
    if image.applied_operations:  # else neither turned nor resampled nor cropped, and MONAI warns of an inversion
        entries = Invertd("result", pipeline, orig_keys=IMAGE, nearest_interp=nearest, to_tensor=True)(entries)
    return entries["result"][0]
