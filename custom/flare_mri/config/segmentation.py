# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a segmentation network marks and in what pieces it sees a volume: the same at all sites of a job."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from flare_mri.config.base import Settings

ORGAN = "organ"
"""Name of the one organ of jobs and sites that do not name it."""

MOST_ORGANS = 64
IGNORED = 255
"""Class of voxels of which the truth is not known."""


def _names(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_ORGANS:
        raise ValueError(f"expected 1 to {MOST_ORGANS} names of organs such as [liver, spleen]")
    return tuple(value)


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected different names of organs")
    return names


def _sizes(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError("expected three numbers of voxels, [slices, rows, columns]")
    return tuple(value)


OrganName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Voxels = Annotated[int, Field(ge=4, le=512)]
Organs = Annotated[
    tuple[OrganName, ...], BeforeValidator(_names, json_schema_input_type=list[OrganName]), AfterValidator(_different)
]
PatchSize = Annotated[tuple[Voxels, Voxels, Voxels], BeforeValidator(_sizes, json_schema_input_type=list[Voxels])]


class SegmentationPlan(Settings):
    """What a segmentation network marks, and in what pieces it sees a volume."""

    organs: Organs = (ORGAN,)
    """Names of the organs to learn; a site's `data.labels` says which values they have in its files, and an organ that
    a site does not label is not learned from its scans."""

    patch_size: PatchSize | None = None
    """[slices, rows, columns] of the patches of a 3D network; none: 2.5D, slices with their two neighbours."""

    @property
    def classes(self) -> int:
        """Number of classes of a network: the background and the organs."""
        return 1 + len(self.organs)

    def plan(self) -> "SegmentationPlan":
        """These two settings alone."""
        return SegmentationPlan(organs=self.organs, patch_size=self.patch_size)
