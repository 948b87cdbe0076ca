# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The section `data` of site.yaml; its keys stand in :mod:`.site_config`."""

import os
from pathlib import Path

from flare_mri.config.site_settings import DataSettings
from flare_mri.config.yaml_file import REQUIRED, Section, shown
from flare_mri.datasets.phantom import DEFAULT_MATRIX
from flare_mri.io.formats import FORMATS, SliceRange

_MOST_PIXELS = 2048  # of an axis of the matrix
_MOST_SUBJECTS = 10_000


def read_data(section: Section) -> DataSettings:
    """Reads and checks the section.

    Raises:
        InputError: a key is unknown, missing, of the wrong type or out of range, or the data root is not there.
    """
    name = section.choice("format", tuple(FORMATS))
    keys = FORMATS[name].keys
    default = DataSettings(name, matrix=DEFAULT_MATRIX if name == "phantom" else None)
    root = section.path("root") if "root" in keys else default.root
    if not os.path.isdir(root):
        raise section.error("root", "an existing folder", str(root), "correct the path or mount the data")
    contrasts = section.texts("contrasts") if "contrasts" in keys else default.contrasts
    if name == "brats" and not contrasts:
        raise section.error(
            "contrasts", "the suffixes of the files to take, such as [flair, t2]", "nothing", "add them"
        )
    axis = section.integer("slice_axis", default.slice_axis) if "slice_axis" in keys else default.slice_axis
    if axis > 2:
        raise section.error("slice_axis", "0, 1 or 2", axis)
    settings = DataSettings(
        format=name,
        root=root,
        contrasts=contrasts,
        slices=_slices(section.section("slices"), FORMATS[name].slices),
        slice_axis=axis,
        matrix=_matrix(section, default.matrix),
        subjects=_subjects(section) if "subjects" in keys else default.subjects,
        datalist=_datalist(section, name, root) if "datalist" in keys else None,
        fit=section.choice("fit", ("pad", "resize"), default.fit) if "fit" in keys else default.fit,
        merge_labels=section.boolean("merge_labels", False) if "merge_labels" in keys else name == "prostate",
    )
    section.finish()
    return settings


def _subjects(section: Section) -> int:
    return section.integer("subjects", DataSettings.subjects, 1, _MOST_SUBJECTS)


def _datalist(section: Section, name: str, root: Path) -> Path:
    path = section.path("datalist", root / "datalist.json" if name == "decathlon" else REQUIRED)
    if not os.path.isfile(path):
        raise section.error("datalist", "an existing JSON file", str(path), "correct the path or copy the list there")
    return path


def _slices(section: Section, default: SliceRange) -> SliceRange:
    start = section.integer("start", default.start)
    stop = section.integer("stop", default.stop, low=1)
    step = section.integer("step", default.step, low=1)
    if stop is not None and stop <= start:
        raise section.error("stop", f"a number above start ({start})", stop)
    section.finish()
    return SliceRange(start, stop, step)


def _matrix(section: Section, default: tuple[int, int] | None) -> tuple[int, int] | None:
    expected = f"two whole numbers >= 16 and <= {_MOST_PIXELS}, [height, width]"
    value = section.take("matrix", expected, default)
    if value is default:
        return default
    fits = isinstance(value, list) and len(value) == 2
    if not fits or not all(type(size) is int and 16 <= size <= _MOST_PIXELS for size in value):
        raise section.error("matrix", expected, shown(value))
    return (value[0], value[1])
