# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The work of flare-mri reconstruct and flare-mri segment: scans in, a line and files for each out."""

import argparse
import sys
import tempfile
from pathlib import Path

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.errors import InputError
from flare_mri.inference.application import Application, Wanted
from flare_mri.inference.dicom_node import DicomNode
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PersonalModel, load_personal_model
from flare_mri.inference.results_folder import ResultsFolder
from flare_mri.inference.watch import DropFolder
from flare_mri.progress import count


def apply(args: argparse.Namespace) -> int:
    """Applies a model, a line for each scan.

    Args:
        args: of :mod:`flare_mri.inference.arguments`, with a model of the command's task.

    Returns:
        0, or 2 after a line on stderr for each input that is wrong.
    """
    try:
        model = load_personal_model(args.model)
        config = load_site_config(args.site, model.site)
        node = DicomNode(args.dicom_node) if args.dicom_node else None
        if node is not None and config.data.is_raw():
            raise InputError("dicom_node: expected settings of images, got some of raw scans; give these by --scans")
        look = args.watch is None and node is None
        dicom = args.dicom or node is not None
        wanted = Wanted(args.undersampled, tuple(args.extra), dicom, args.overlay, args.patient_id)
        application = open_application(model, config, args.scans, wanted, look)
        results = ResultsFolder(application, args.out)
        if node is not None:
            return _run_node(node, args, model, application, results)
        if args.watch is not None:
            drop = DropFolder(args.watch, application, results)
            print(f"{_describe(model)}; watching {args.watch}, until Ctrl-C", flush=True)
            drop.watch(args.settle)
        results.check_free(application.names)
        print(f"{_describe(model)}; {count(len(application.scans), 'scan')}", flush=True)
        if known := _count_known(config, application):
            told = f"{known} of them in the data of site.yaml, from which the model may have learned"
            print(f"{told}: new scans may do worse", flush=True)
        results.run_all(application)
        return results.finish(len(application.scans))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _describe(model: PersonalModel) -> str:
    routed = f", routed over {len(model.experts)} models" if model.experts else ""
    return f"{model.task}: {model.job}'s model of {model.site}{routed}"


def _count_known(config: SiteConfig, application: Application) -> int:
    """How many of the scans lie where the site's own data do."""
    root = config.data.find_root()
    if root is None:
        return 0
    found = [[path.resolve().is_relative_to(root.resolve()) for path in scan.files] for scan in application.scans]
    return sum(map(any, found))


def _run_node(
    node: DicomNode, args: argparse.Namespace, model: PersonalModel, application: Application, results: ResultsFolder
) -> int:
    """Series by series: fetched into a folder of this process, done, written, and stored where they came from."""
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
                if result is not None and (args.undersampled or args.store_test):
                    former = node.count_own(study)
                    stored = node.store(result.more.values(), study)
                    beside = f", beside {former} of before, which stay" if former else ""
                    print(f"{series}: {count(stored, 'file')} stored at {node.url}{beside}", flush=True)
                elif result is not None:
                    print(f"{series}: not stored, it was undersampled here, a test; --store_test stores it", flush=True)
            except InputError as error:
                results.fail(str(error))
    return results.finish(len(studies))
