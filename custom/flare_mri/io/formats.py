# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The formats of `data.format` in site.yaml: which keys each takes and for which tasks it serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flare_mri.errors import InputError

RECONSTRUCTION, SEGMENTATION = "reconstruction", "segmentation"


@dataclass(frozen=True)
class SliceRange:
    """Which slices of a volume to take: `range(start, stop, step)`, `stop` clipped to the volume; None: to the end."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def indices(self, count: int) -> range:
        """Returns the chosen indices of `count` slices."""
        return range(count)[self.start : self.stop : self.step]


@dataclass(frozen=True)
class Format:
    """A format of images.

    Attributes:
        keys: which keys of `data` it takes besides `format`, `slices` and `matrix`.
        slices: which slices it takes where site.yaml does not say.
        tasks: what a site with such data can take part in.
        listed: its own list says what is for training, validation and test; there is nothing to split.
    """

    keys: tuple[str, ...]
    slices: SliceRange = SliceRange()
    tasks: tuple[str, ...] = (RECONSTRUCTION,)
    listed: bool = False


FORMATS = {
    "phantom": Format(("subjects",), tasks=(RECONSTRUCTION, SEGMENTATION)),
    "fastmri": Format(("root", "contrasts")),
    "nifti": Format(("root", "contrasts", "slice_axis")),
    "brats": Format(("root", "contrasts", "slice_axis"), SliceRange(40, 120)),
    "dicom": Format(("root", "contrasts")),
    "prostate": Format(("root", "slice_axis", "fit"), tasks=(SEGMENTATION,)),
    "decathlon": Format(("root", "datalist", "slice_axis", "fit", "merge_labels"), tasks=(SEGMENTATION,), listed=True),
    "datalist_2d": Format(
        ("root", "datalist", "slice_axis", "fit", "merge_labels"), tasks=(SEGMENTATION,), listed=True
    ),
}


def check_task(name: str, task: str) -> None:
    """Refuses a task that data of the format `name` cannot serve.

    Raises:
        InputError: names the formats that can.
    """
    if task not in FORMATS[name].tasks:
        able = ", ".join(key for key, value in FORMATS.items() if task in value.tasks)
        raise InputError(
            f"data.format: expected one of {able} for a {task} job, got {name!r}, whose data are for "
            f"{FORMATS[name].tasks[0]}; give this site a site.yaml for {task} or leave it out of the job"
        )


@contextmanager
def naming_site(site: str) -> Iterator[None]:
    """Puts the site's name in front of every InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"site {site!r}: {error}") from error
