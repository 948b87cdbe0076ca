# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What flare-mri reconstruct and flare-mri segment have in common: all but the task and the help."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.inference.application import Application
from flare_mri.inference.dicom_node import DicomNode
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PersonalModel, load_personal_model
from flare_mri.inference.raw_reconstruction import EXTRA_IMAGES
from flare_mri.inference.results_folder import ResultsFolder, count
from flare_mri.inference.watch import DropFolder
from flare_mri.io.formats import RECONSTRUCTION

_COMMANDS = {"reconstruction": "reconstruct", "segmentation": "segment"}
_SETTLE = 10.0


def run(task: str, about: str | None, argv: Sequence[str] | None) -> int:
    """Applies a model of a task, a line for each scan.

    Args:
        task: reconstruction or segmentation.
        about: what help says.
        argv: words after the command.

    Returns:
        0, or 2 after a line on stderr for each input that is wrong.
    """
    args = build_parser(task, about).parse_args(argv)
    try:
        model = _load_model(args.model, task)
        config = load_site_config(args.site, model.site)
        node = DicomNode(args.dicom_node) if args.dicom_node else None
        if node is None and (args.series or args.study):
            raise InputError("series, study: expected --dicom_node with them, got none; give the node's address")
        look = args.watch is None and node is None
        application = open_application(
            model, config, args.scans, args.undersampled, args.extra, args.dicom or node is not None, look
        )
        results = ResultsFolder(application, args.out)
        if node is not None:
            return _run_node(node, args, model, application, results)
        if args.watch is not None:
            drop = DropFolder(args.watch, application, results)
            print(f"{_describe(model)}; watching {args.watch}, until Ctrl-C", flush=True)
            drop.watch(args.settle)
        results.check_free(application.names)
        print(f"{_describe(model)}; {count(len(application.scans), 'scan')}", flush=True)
        results.run_all(application)
        return _finish(results, len(application.scans))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _load_model(path: Path, task: str) -> PersonalModel:
    model = load_personal_model(path)
    if model.task != task:
        raise InputError(
            f"model {path}: expected one of {task}, got one of {model.task}; say flare-mri {_COMMANDS[model.task]}"
        )
    return model


def _describe(model: PersonalModel) -> str:
    routed = f", routed over {len(model.experts)} models" if model.experts else ""
    return f"{model.task}: {model.job}'s model of {model.site}{routed}"


def _run_node(
    node: DicomNode, args: argparse.Namespace, model: PersonalModel, application: Application, results: ResultsFolder
) -> int:
    """Series by series: fetched into a folder of this process, done, written, and stored where they came from."""
    if not args.series and not args.study:
        raise InputError("dicom_node: expected --series or --study with the UID of what to fetch, got none; add it")
    studies = node.find_series(args.series, args.study)
    results.check_free(list(studies))
    print(f"{_describe(model)}; {count(len(studies), 'scan')} at {node.url}", flush=True)
    for series, study in studies.items():
        with tempfile.TemporaryDirectory(prefix="flare-mri-") as private:
            folder = Path(private, series)
            folder.mkdir()
            try:
                node.fetch(study, series, folder)
                here = application.at(folder)
                result = results.run(here, 0, shown=True)
                if result is not None:
                    stored = node.store(result.more.values(), study)
                    print(f"{series}: {count(stored, 'file')} stored at {node.url}", flush=True)
            except InputError as error:
                results.fail(str(error))
    return _finish(results, len(studies))


def _finish(results: ResultsFolder, scans: int) -> int:
    if results.done:
        results.summarise()
    if results.failed:
        told = f"{results.failed} of {count(scans, 'scan')} failed"
        print(f"error: {told}, as told above; fix or move them", file=sys.stderr)
    return 2 if results.failed else 0


def build_parser(task: str, about: str | None) -> argparse.ArgumentParser:
    """The options of a task's command."""
    parser = argparse.ArgumentParser(
        prog=f"flare-mri {_COMMANDS[task]}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        help="of DICOM series also write DICOM: a segmentation object, or a derived series (always of --dicom_node)",
    )
    if task == RECONSTRUCTION:
        _add_reconstruction(parser)
    else:
        parser.set_defaults(undersampled=False, extra=())
    return parser


def _add_reconstruction(parser: argparse.ArgumentParser) -> None:
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


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.01 to 3600 seconds, got {text}")
    return value
