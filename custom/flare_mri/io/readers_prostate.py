# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of the public multi-site prostate data (SAML): one folder a site, image and label side by side."""

import re
from pathlib import Path

from flare_mri.config.site import DataSettings
from flare_mri.errors import InputError
from flare_mri.io.cases import Case, volume_case
from flare_mri.io.source import listed

_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_LABEL = re.compile(r"[\s_-]*seg(mentation)?$", re.IGNORECASE)


def find_prostate(settings: DataSettings) -> list[Case]:
    """Finds `<root>/CaseNN.nii.gz` with `CaseNN_segmentation.nii.gz`.

    Case, spaces, `_` and `-` do not matter (`Case00_Segmentation.nii.gz`, `case00-seg.nii`). A site in which no case
    has a label is taken as unlabelled.

    Raises:
        InputError: no image, an image or a label without the other, or two files for the same.
    """
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in listed(settings.root, lambda path: bool(_ENDING.search(path.name)), "NIfTI files CaseNN.nii.gz"):
        stem = _ENDING.sub("", path.name)
        name = _LABEL.sub("", stem)
        files = images if name == stem else labels
        key = re.sub(r"[\s_-]", "", name).lower()
        if key in files:
            raise InputError(f"{path}: expected one file for case {key!r}, got {files[key].name} too; remove one")
        files[key] = path
    for key, path in labels.items():
        if key not in images:
            raise InputError(f"{path}: expected its image beside it, got none; add the image or remove the label")
    for key, path in images.items():
        if labels and key not in labels:
            raise InputError(
                f"{path}: expected {_ENDING.sub('', path.name)}_segmentation.nii.gz beside it as the other cases have, "
                "got none; add the label or remove the case"
            )
    return [volume_case(key, "", path, labels.get(key), settings) for key, path in images.items()]


def find_unlabelled(settings: DataSettings) -> list[Case]:
    """Finds the images of `<root>/*.nii.gz`, whatever their names; files named as labels are left out.

    Raises:
        InputError: no image.
    """
    paths = listed(settings.root, _is_image, "NIfTI images *.nii or *.nii.gz")
    return [volume_case(_ENDING.sub("", path.name), "", path, None, settings) for path in paths]


def _is_image(path: Path) -> bool:
    return bool(_ENDING.search(path.name)) and not _LABEL.search(_ENDING.sub("", path.name))
