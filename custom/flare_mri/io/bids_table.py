# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Tables `dseg.tsv` of a BIDS derivative: names of the organs in its labels."""

import re
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.segmentation import MOST_ORGANS
from flare_mri.errors import InputError
from flare_mri.files import read_bytes
from flare_mri.io.bids_files import BidsFile, check_inside, list_inside
from flare_mri.io.datalist import name_organ
from flare_mri.io.nifti_file import strip_ending

_MOST_BYTES = 2**20  # some 10,000 rows
_TABLE = re.compile(r"((?:[a-z]+-[A-Za-z0-9]+_)*)dseg\.tsv")


def find_organs(labels: Sequence[BidsFile], folder: Path, root: Path) -> dict[str, tuple[int, ...]] | None:
    """Organs of all tables that belong to labels.

    A table lies beside its label and is named as it, or at the top of the derivative, where it is of all labels whose
    names hold its entities (`desc-aseg_dseg.tsv`): then the one with most of them counts.

    Args:
        labels: the site's.
        folder: the derivative.
        root: the data set.

    Returns:
        Values by name, in the order of the values, see :func:`flare_mri.io.datalist.name_organ`; None where no table
        names one.

    Raises:
        InputError: a table without columns `index` and `name`, with two organs of one name or value, or too large; two
            that contradict each other; too many organs.
    """
    tops = [path for path in list_inside(folder, root) if _TABLE.fullmatch(path.name)]
    tables = dict.fromkeys(path for label in labels if (path := _find_table(label, tops)) is not None)
    organs: dict[int, str] = {}
    for path in tables:
        for value, name in _read_table(check_inside(path, root)).items():
            known = organs.setdefault(value, name)
            if known != name or list(organs.values()).count(name) > 1:
                raise InputError(
                    f"{path}: expected every index and every name once, in all such tables, got {value} {name!r} "
                    "beside another; correct it or set data.labels"
                )
            if len(organs) > MOST_ORGANS:
                raise InputError(
                    f"{path}: expected at most {MOST_ORGANS} organs, got more; put some together in data.labels"
                )
    return {organs[value]: (value,) for value in sorted(organs)} or None


def _find_table(label: BidsFile, tops: Sequence[Path]) -> Path | None:
    beside = label.path.with_name(f"{strip_ending(label.path.name)}.tsv")
    if beside.exists():
        return beside
    own = {label.subject, *(f"{key}-{value}" for key, value in label.entities.items())}
    fitting = [path for path in tops if set(path.name.split("_")[:-1]) <= own]
    return max(fitting, key=lambda path: path.name.count("_"), default=None)


def _read_table(path: Path) -> dict[int, str]:
    """Names by index, without the background."""
    fix = "correct the table or set data.labels"
    try:
        lines = re.split(r"\r\n?|\n", read_bytes(path, _MOST_BYTES, fix).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, got a binary file; {fix}") from error
    head, *rows = (line.split("\t") for line in lines)
    if not {"index", "name"} <= set(head):
        raise InputError(f"{path}: expected columns index and name with tabs between, got {lines[0][:80]!r}; {fix}")
    columns, found = (head.index("index"), head.index("name")), {}
    for number, row in enumerate(rows, 2):
        if row == [""]:
            continue
        value, name = (row[column].strip() if column < len(row) else "" for column in columns)
        index = int(value) if re.fullmatch(r"[0-9]{1,5}", value) else -1
        if not 0 <= index <= 2**15 or index in found or not name_organ(name):
            raise InputError(
                f"{path}: line {number}: expected an index of its own from 0 to {2**15} and a name, got "
                f"{value[:40]!r} and {name[:40]!r}; {fix}"
            )
        found[index] = name_organ(name)
    return {index: name for index, name in found.items() if index}
