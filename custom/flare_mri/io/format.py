# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The entry that a format of images is: its settings, its scans, how it is recognised, and a small sample of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flare_mri.config.data import DataSettings
from flare_mri.config.tasks import RECONSTRUCTION, SEGMENTATION
from flare_mri.io.scan import Scan

__all__ = ["RECONSTRUCTION", "SEGMENTATION", "Format", "in_files"]


@dataclass(frozen=True)
class Format:
    """A format of images, all in one place.

    Attributes:
        name: the value of `data.format` in site.yaml.
        tasks: of what a site with such data can take part in.
        options: the keys of `data` that it takes.
        find: lists the scans that settings name at a site for a task, in the order of their names or of the site's
            list; no voxel is read.
        sniff: whether a folder looks like a `root` of this format.
        write_sample: writes a small valid `root` into a folder, for tests and fuzzing; None for a phantom.
        sample_keys: keys of `data` that the sample needs besides `root`.
        find_unlabelled: lists new scans in a folder without labels, for a segmentation model; None where `find` does.
    """

    name: str
    tasks: tuple[str, ...]
    options: type[DataSettings]
    find: Callable[[Any, str, str], list[Scan]]
    sniff: Callable[[Path], bool]
    write_sample: Callable[[Path, np.random.Generator], None] | None
    sample_keys: Mapping[str, Any] = field(default_factory=dict)
    find_unlabelled: Callable[[Any], list[Scan]] | None = None


def in_files(find: Callable[[Any], list[Scan]]) -> Callable[[Any, str, str], list[Scan]]:
    """A format's `find` whose scans lie in files, whatever the site's name and the task."""
    return lambda settings, site, task: find(settings)
