# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri segment MODEL --site SITE_YAML --scans PLACE --out FOLDER: organs in new scans, by a hospital's model.

MODEL is the personal.safetensors that a job of segmentation left in the hospital's site store, SITE_YAML the hospital's
settings as they were for that job; their keys stand in docs/reference/site-yaml.md. Labels are written as NIfTI, and
with --dicom as DICOM segmentations, on each scan's own voxels. Scans are files and folders, or come into a folder that
is watched, or from a DICOM node. Nothing is sent but to that node, and nothing that is there is overwritten; only their
owner may read the files (mode 0600) and list a folder that is made for them (0700).
"""

import argparse
from collections.abc import Sequence

from flare_mri.config.tasks import SEGMENTATION
from flare_mri.inference import arguments


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    return arguments.build_parser(SEGMENTATION, __doc__)


def main(argv: Sequence[str] | None = None) -> int:
    """Segments scans, a line for each; returns 0, or 2 after a line on stderr for each input that is wrong."""
    return arguments.run(SEGMENTATION, __doc__, argv)
