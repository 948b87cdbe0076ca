# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri export MODEL --site SITE_YAML --out FOLDER: a hospital's model as a MONAI bundle.

MODEL is the personal.safetensors that a job left in the hospital's site store, SITE_YAML the hospital's settings as
they were for that job, for reconstruction those of raw scans; their keys stand in docs/reference/site-yaml.md. MONAI
alone runs FOLDER where a model of segmentation has a network of MONAI's, else this package must be installed too.
Nothing is sent, and nothing that is there is overwritten; only their owner may read the files. They name neither job
nor hospital.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.cli import Parser
from flare_mri.errors import InputError
from flare_mri.files import check_file


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri export", description=__doc__)
    parser.add_argument("model", type=Path, help="personal.safetensors of the hospital's site store")
    parser.add_argument("--site", type=Path, required=True, help="the hospital's site.yaml: spatial_size, spacing ...")
    parser.add_argument("--out", type=Path, required=True, help="folder for the bundle; made if missing, else empty")
    parser.add_argument(
        "--torch_export",
        action="store_true",
        help="also write models/model.pt2, network and weights as a program of torch.export, which needs no code",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exports the model; returns 0, or 2 after a line on stderr where an input is wrong."""
    args = build_parser().parse_args(argv)
    try:
        check_file(args.model, "give the personal.safetensors of the hospital's site store")
        check_file(args.site, "give the hospital's site.yaml")
        # PyTorch and MONAI take seconds to import: commands import them where they work.
        from flare_mri.bundle import export_bundle
        from flare_mri.bundle.texts import RUN
        from flare_mri.config.site import load_site_config
        from flare_mri.inference.personal_model import load_personal_model

        model = load_personal_model(args.model)
        plan = export_bundle(model, load_site_config(args.site, model.site), args.out, args.torch_export)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    needs = "this package and MONAI" if plan.needs_package else "MONAI alone"
    print(f"Bundle of {plan.class_name} ({plan.subject}), which needs {needs}: {args.out}")
    print(f"{RUN.format(root=args.out)} --dataset_dir SCANS --output_dir RESULTS")
    return 0
