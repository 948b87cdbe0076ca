# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri route SPACE --site SITE_YAML --scans FOLDER --out FOLDER: a model, without a server.

SPACE is the routing_space.safetensors that a job iopfl left, SITE_YAML the hospital's settings, as for a job
(docs/reference/site-yaml.md). All slices of the scans are looked at, no label is read. The model that is made is
written to FOLDER as personal.safetensors, for flare-mri segment and scans to come, and applied to these scans: labels
as NIfTI on each scan's own voxels. Nothing is sent, and nothing that is there is overwritten.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import Parser, add_options
from flare_mri.errors import InputError
from flare_mri.files import check_file


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri route", description=__doc__)
    parser.add_argument("space", type=Path, help="routing_space.safetensors of a job iopfl")
    parser.add_argument("--site", type=Path, required=True, help="the hospital's site.yaml: spatial_size, device ...")
    parser.add_argument("--scans", type=Path, help="folder of scans (default: the volumes that site.yaml names)")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and results; made if missing")
    add_options(parser.add_argument_group("how the model is made"), AdaptationSettings)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Makes and applies the model; returns 0, or 2 after a line on stderr for each input that is wrong."""
    args = build_parser().parse_args(argv)
    try:
        check_file(args.space, "give the routing_space.safetensors that a job iopfl left")
        check_file(args.site, "give the hospital's site.yaml")
        if args.scans is not None and not args.scans.exists():
            raise InputError(f"--scans: expected a file or a folder, got {args.scans}, which is none; correct the path")
        # PyTorch and MONAI take seconds to import: commands import them where they work.
        from flare_mri.inference.outside_model import make_and_apply

        return make_and_apply(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit("error: python -m flare_mri.route is called flare-mri route now; write that")
