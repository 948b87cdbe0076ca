# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The options of flare-mri reconstruct and flare-mri segment, which are the same but for the task."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.cli import Parser
from flare_mri.config.tasks import RECONSTRUCTION, SEGMENTATION
from flare_mri.errors import InputError
from flare_mri.files import check_file
from flare_mri.tensor_description import stored_description

COMMANDS = {RECONSTRUCTION: "reconstruct", SEGMENTATION: "segment"}
EXTRA_IMAGES = ("phase", "complex", "uncertainty")
"""Further images of a raw scan."""
_SETTLE = 10.0


def run(task: str, about: str | None, argv: Sequence[str] | None) -> int:
    """Reads the words, looks whether what they name is there, and applies a model of a task.

    Args:
        task: reconstruction or segmentation.
        about: what help says.
        argv: words after the command.

    Returns:
        0, or 2 after a line on stderr for each input that is wrong.
    """
    args = build_parser(task, about).parse_args(argv)
    try:
        _check(task, args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # PyTorch and MONAI take seconds to import: commands import them where they work.
    from flare_mri.inference.command import apply

    return apply(args)


def _check(task: str, args: argparse.Namespace) -> None:
    check_file(args.model, "give the personal.safetensors that a job left in the site's store")
    other = stored_description(args.model).get("task")
    if other in COMMANDS and other != task:
        raise InputError(
            f"model {args.model}: expected one of {task}, got one of {other}; say flare-mri {COMMANDS[other]}"
        )
    check_file(args.site, "give the hospital's site.yaml")
    for name in ("scans", "watch"):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise InputError(f"--{name}: expected a file or a folder, got {path}, which is none; correct the path")
    if args.patient_id and not args.dicom:
        raise InputError("patient_id: expected --dicom with it, got none; add --dicom, or leave it out")
    if args.overlay and not args.dicom and args.dicom_node is None:
        raise InputError("overlay: expected --dicom or --dicom_node with it, got neither; add one, or leave it out")
    if args.dicom_node is None and (args.series or args.study):
        raise InputError("series, study: expected --dicom_node with them, got none; give the node's address")
    if args.dicom_node is not None and not args.series and not args.study:
        raise InputError("dicom_node: expected --series or --study with the UID of what to fetch, got none; add it")


def build_parser(task: str, about: str | None) -> argparse.ArgumentParser:
    """The options of a task's command."""
    parser = Parser(prog=f"flare-mri {COMMANDS[task]}", description=about)
    parser.add_argument("model", type=Path, help="personal.safetensors of the hospital's site store")
    parser.add_argument(
        "--site", type=Path, required=True, help="the hospital's site.yaml: spatial_size, mask, device ..."
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--scans",
        type=Path,
        help="new scans: a file, a folder of a DICOM series, or a folder of these or laid out as data.root (default: "
        "the volumes that site.yaml names)",
    )
    source.add_argument(
        "--watch",
        type=Path,
        metavar="FOLDER",
        help="do scans that are put into this folder, each once, until Ctrl-C",
    )
    source.add_argument(
        "--dicom_node",
        metavar="URL",
        help="fetch --series or --study from this node by DICOMweb, and store the results there; name and password: "
        "~/.netrc",
    )
    parser.add_argument("--series", nargs="+", default=(), metavar="UID", help="of the node: Series Instance UIDs")
    parser.add_argument("--study", metavar="UID", help="of the node: all MR series of this Study Instance UID")
    parser.add_argument(
        "--settle",
        type=_seconds,
        default=_SETTLE,
        metavar="SECONDS",
        help="of --watch: a scan is complete when it has not changed for so long; default %(default)g",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if missing")
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="of DICOM series also write DICOM: a segmentation object, or a derived series (always of --dicom_node); "
        "reconstruct: of raw scans a new study",
    )
    if task == RECONSTRUCTION:
        _add_reconstruction(parser)
    else:
        _add_segmentation(parser)
    return parser


def _add_segmentation(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(undersampled=False, extra=(), patient_id="", store_test=True)
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="with --dicom or --dicom_node: also a series of the scan's images with the organs' outlines in overlay "
        "planes, for viewers that show no segmentation objects",
    )


def _add_reconstruction(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(overlay=False)
    parser.add_argument(
        "--undersampled",
        action="store_true",
        help="the scans are undersampled already, by the protocol the model knows (default: they are fully sampled, "
        "are undersampled with the site's mask, and scored, but for raw scans with missing samples)",
    )
    parser.add_argument(
        "--extra",
        nargs="+",
        default=(),
        choices=EXTRA_IMAGES,
        help="raw scans: further images of each, beside the magnitude: phase (radians), complex, uncertainty (spread "
        "over the cascades)",
    )
    parser.add_argument(
        "--store_test",
        action="store_true",
        help="of --dicom_node: store what was made of scans that were undersampled here, too: a test of the model, "
        "worse than the scan (default: it stays in --out)",
    )
    parser.add_argument(
        "--patient_id",
        default="",
        type=_patient,
        metavar="ID",
        help="raw scans with --dicom: the patient's ID or a pseudonym (default: the ID in each scan's header)",
    )


def _patient(text: str) -> str:
    if len(text) > 64 or not text.isprintable() or "\\" in text:
        raise argparse.ArgumentTypeError(f"expected at most 64 printable characters without \\, got {text!r}")
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.01 to 3600 seconds, got {text}")
    return value
