# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The keys of a site.yaml that suit what lies in a folder, each with what it was concluded from."""

import math
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flare_mri.config.data import DataSettings
from flare_mri.config.segmentation import IGNORED
from flare_mri.config.site import SplitSettings
from flare_mri.datasets.split import split_slices
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, SEGMENTATION, read_data_settings
from flare_mri.program.folder_facts import REQUIRED, FolderFacts, look_at, name_contrasts, said_contrasts
from flare_mri.progress import count

_FEW = 10  # subjects; from so many on they can be divided
_MOST_ORGANS = 16  # more different values are those of an image
_SMALLEST = 16  # pixels of a slice
_LARGE = 384  # pixels of a slice to segment, above which training is slow
_ESPIRIT, _WIDEST_CENTRE = 8, 0.2  # lines in the middle for coil sensitivities; part of all that may be sampled there
_PARTS = ((0.7, 0.1, 0.2), (0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33), (0.7, 0, 0.3), (0.5, 0, 0.5))


class Line(NamedTuple):
    """A key, its value and a comment; without a key the comment alone. `guess`: somebody has to confirm it."""

    key: str
    value: Any
    comment: str = ""
    guess: bool = False


def guess_data(folder: Path, name: str, given: dict[str, Any], site: str) -> tuple[list[Line], FolderFacts]:
    """The section `data`.

    Args:
        folder: of the data.
        name: of their format.
        given: keys that are known.
        site: the site's name.

    Raises:
        InputError: the format needs a key that no folder tells, or a file that is looked at is wrong.
    """
    options = FORMATS[name].options
    lines = [Line("format", name, "by the names and first bytes of the files", True), Line("root", str(folder))]
    for key, field in options.model_fields.items():
        if key in given or key in ("format", "root") or not field.is_required():
            continue
        if key not in REQUIRED:
            raise InputError(f"{folder}: data.{key}: expected it for {name}, got no way to find it; write site.yaml")
        find, told = REQUIRED[key]
        lines.append(Line(key, find(folder), told, True))
    lines += [Line(key, value) for key, value in given.items() if key != "spatial_size"]
    values = {line.key: line.value for line in lines}
    facts = look_at(read_data_settings(values, str(folder), folder), site)
    if "slice_axis" in options.model_fields and "slice_axis" not in given:
        lines += _guess_axis(facts)
    settings = read_data_settings({line.key: line.value for line in lines}, str(folder), folder)
    lines += _tell_scans(facts, settings)
    depth = min(shape[settings.find_slice_axis()] for shape in facts.shapes)
    if not len(settings.slices.indices(depth)):
        lines.append(Line("slices", {"start": 0}, f"all: a scan has {depth} slices", True))
    if SEGMENTATION in FORMATS[name].tasks:
        lines += _guess_labels(facts, settings)
    elif name == "nifti":
        lines.append(Line("", None, "for reconstruction; to segment these scans: site init --format prostate"))
    lines += _guess_size(facts, settings, given.get("spatial_size"))
    if facts.raw and _centre(facts) > _WIDEST_CENTRE:
        lines.append(Line("sensitivities", "low_pass", f"espirit needs a centre of {_ESPIRIT} lines", True))
    elif facts.raw and find_spec("sigpy") is None:
        lines.append(Line("sensitivities", "low_pass", "espirit needs pip install 'flare-mri[raw]'", True))
    return lines, facts


def _centre(facts: FolderFacts) -> float:
    """Part of the lines in the middle that ESPIRiT needs, of the narrowest scan."""
    return math.ceil(1000 * _ESPIRIT / min(shape[1] for shape in facts.shapes)) / 1000


def _guess_axis(facts: FolderFacts) -> list[Line]:
    """The axis with the widest spacing, where there clearly is one; else the third, as the format has it."""
    thick = [max(range(3), key=spacing.__getitem__) for spacing in facts.spacings]
    clear = all(spacing[axis] > 1.5 * sorted(spacing)[1] for spacing, axis in zip(facts.spacings, thick, strict=True))
    if not clear or len(set(thick)) != 1 or thick[0] == 2:
        return []
    return [Line("slice_axis", thick[0], f"slices lie {facts.spacings[0][thick[0]]:g} mm apart along it", True)]


def _tell_scans(facts: FolderFacts, settings: DataSettings) -> list[Line]:
    told = f"{count(len(facts.scans), 'scan')} of {count(facts.patients, 'patient')}"
    told += " by the files' names" if facts.patients != facts.subjects else ""
    told += f", axes as stored: {_count(facts.codes)}" if any(facts.codes) else ""
    lines = [Line("", None, told)]
    contrasts = name_contrasts(facts.scans)
    if len(contrasts) > 1:
        one = contrasts.most_common(1)[0][0]
        lines.append(Line("", None, f'contrasts: {_count(contrasts)}; include: ["*_{one}*"] takes one'))
    if said := said_contrasts(facts.scans):
        more = "; a model knows those that it learned from" if len(said) > 1 else ""
        lines.append(Line("", None, f"contrasts, as the files say: {_count(said)}{more}"))
    if not any(settings.find_lists()) and len(set(facts.spacings)) > 1:
        mm = {tuple(round(step, 2) for step in spacing) for spacing in facts.spacings}
        lines.append(Line("", None, f"{len(mm)} different spacings; spacing: [..] resamples all to one"))
    return lines


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{name or 'not known'} ({number})" for name, number in found.most_common(8))


def _guess_labels(facts: FolderFacts, settings: DataSettings) -> list[Line]:
    if not facts.labelled:
        return [Line("", None, "no labels: an outside site, which is given a model and scored on nothing")]
    seen = [int(value) for value in facts.values if value > 0 and value == int(value)]
    told = Line("", None, f"labels: {facts.labelled} of {len(facts.scans)} scans; values {', '.join(map(str, seen))}")
    if len(seen) > _MOST_ORGANS or len(seen) < sum(value != 0 for value in facts.values):
        return [told, Line("", None, "which are not all labels: flare-mri site check tells the files")]
    unknown = [value for value in seen if value == IGNORED and len(seen) > 1]
    organs = [value for value in seen if value not in unknown]
    lines = [told]
    known = settings.find_labels()
    covered = known is None or set(organs) <= {value for values in known.values() for value in values}
    white = settings.format == "datalist_2d" and organs == [IGNORED]
    if not covered and not white and len(organs) == 1:
        lines.append(Line("labels", {"organ": organs[0]}, "name it as the job's --organs does", True))
    elif not covered and not white and "merge_labels" in type(settings).model_fields:
        lines.append(Line("merge_labels", True, "all values above 0 are one organ, or name each:", True))
    if len(organs) > 1 and (known is None or not covered):
        named = ", ".join(f"organ_{value}: {value}" for value in organs)
        lines.append(
            Line("", None, f"labels: {{{named}}}   instead, for each organ of its own; see the job's --organs")
        )
    elif known is not None and len(known) > 1:
        lines.append(Line("", None, f"organs as the list names them: {', '.join(known)}"))
    if unknown and not lines[-1].key.startswith("merge"):
        lines.append(Line("ignore_label", IGNORED, "taken as: the truth is not known there", True))
    return lines


def _guess_size(facts: FolderFacts, settings: DataSettings, given: Sequence[int] | None) -> list[Line]:
    axis = settings.find_slice_axis()
    sizes = Counter(tuple(n for at, n in enumerate(shape) if at != axis) for shape in facts.shapes)
    largest = [max(column) for column in zip(*sizes, strict=True)]
    told = f"slices are {' or '.join('x'.join(map(str, size)) for size in sizes)}"
    if len(sizes) > 2:
        told = f"slices are of {len(sizes)} sizes up to {'x'.join(map(str, largest))}"
    if facts.raw:
        return [Line("", None, f"{told}: measured k-space stays as it is")]
    if given is not None:
        return [Line("spatial_size", list(given), told)]
    if SEGMENTATION not in FORMATS[settings.format].tasks:
        size = sizes.most_common(1)[0][0]
        if min(size) < _SMALLEST:
            return [Line("", None, f"{told}; networks need at least {_SMALLEST}: is slice_axis right?")]
        return [Line("spatial_size", list(size), f"{told}; less makes training faster and images coarser", True)]
    size = tuple(max(_SMALLEST, -(-side // 16) * 16) for side in largest)
    if max(size) <= _LARGE:
        return [Line("spatial_size", list(size), f"{told}; none is cut. All sites of a job need one size", True)]
    shrunk = [max(_SMALLEST, round(side * 256 / max(size) / 16) * 16) for side in size]
    return [
        Line("spatial_size", shrunk, f"{told}. All sites of a job need one size", True),
        Line("fit", "resize", "scaled down, for speed", True),
    ]


def guess_split(facts: FolderFacts, settings: DataSettings) -> list[Line]:
    """The section `split`: by volume where there are subjects enough, in parts of which none is empty."""
    if settings.is_listed():
        parts = Counter(scan.section for scan in facts.scans)
        return [Line("", None, f"no split: the data list divides the scans: {_count(parts)}")]
    segmentation = SEGMENTATION in FORMATS[settings.format].tasks
    if segmentation and not facts.labelled:
        return []
    if segmentation and facts.subjects == 1:
        told = "one subject can only test: a site that is given a model"
        return [Line("split", {"train": 0, "validation": 0, "test": 1, "by": "volume"}, told, True)]
    axis, slices = settings.find_slice_axis(), settings.slices
    few = min(len(slices.indices(shape[axis])) for shape in facts.shapes)
    by: Literal["slice", "volume"] = "volume" if segmentation or facts.subjects >= _FEW else "slice"
    told = {
        "volume": f"{count(facts.subjects, 'subject')}, no one in two parts",
        "slice": "too few subjects to divide: first to last slices of each; neighbours of training slices are tested",
    }[by]
    subjects = [scan.subject for scan in facts.scans]
    for train, validation, test in _PARTS:
        split = SplitSettings(train=train, validation=validation, test=test, by=by)
        try:
            split_slices([few] * len(subjects), subjects, split, 0)
        except InputError:
            continue
        return [Line("split", split.model_dump(), told, True)]
    return [
        Line("", None, f"split: too little data for training and test: {count(len(subjects), 'scan')} of {few} slices")
    ]


def guess_mask(facts: FolderFacts, settings: DataSettings) -> list[Line]:
    """The section `mask` of reconstruction."""
    if SEGMENTATION in FORMATS[settings.format].tasks:
        return []
    if facts.undersampled:
        return [Line("", None, "no mask: scans were measured undersampled and are taken with their own")]
    centre = _centre(facts) if facts.raw and _centre(facts) <= _WIDEST_CENTRE else 0.0
    mask = {"kind": "equispaced", "acceleration": 4, "centre_fraction": max(0.08, centre)}
    return [Line("mask", mask, "give the protocol of your scanner; or random, radial, gaussian, file", True)]
