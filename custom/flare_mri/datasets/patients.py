# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The patients of a site's scans, from what its format knows or from names."""

import re
from collections.abc import Sequence
from pathlib import Path

from flare_mri.io.nifti_file import strip_ending
from flare_mri.io.scan import Scan

_PATIENT = re.compile(r"(sub-[A-Za-z0-9]+|[A-Za-z]+[-_ ]?\d{2,})(?=[^A-Za-z0-9]|$)")
_MOST_A_PATIENT = 4  # scans on average; where names give more, what they begin with names something else


def find_patients(scans: Sequence[Scan]) -> dict[str, str]:
    """The patient of each scan, by the scan's name.

    It is the subject that the format knows (DICOM's Patient ID, a case's folder). Where that is the scan's own name, it
    is what the file's name begins with: `sub-01`, or letters with a number as in `patient012_t2.nii.gz`.
    """
    guessed = {}
    for scan in scans:
        files = scan.image.files  # several are slices, whose folder is named
        found = _PATIENT.match(strip_ending(files[0].name if len(files) == 1 else Path(scan.name).name))
        guessed[scan.name] = found[1] if found and scan.subject == scan.name else scan.subject
    usable = len(scans) <= _MOST_A_PATIENT * len(set(guessed.values()))
    return guessed if usable else {scan.name: scan.subject for scan in scans}
