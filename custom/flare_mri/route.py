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
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import add_options, given_options
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.config.yaml_file import read_yaml
from flare_mri.datasets.pieces import Pieces
from flare_mri.errors import InputError
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.results_folder import ResultsFolder, write_private
from flare_mri.inference.segmentation import Segmenter
from flare_mri.io.formats import SEGMENTATION
from flare_mri.networks.state_check import not_finite
from flare_mri.progress import print_beside, with_progress
from flare_mri.routing.outside import Outside
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space
from flare_mri.tensor_file import pack_tensors
from flare_mri.training.build import resolve_device

_JOB = "route"


def make_model(
    space: RoutingSpace, config: SiteConfig, scans: Path | None, settings: AdaptationSettings, out: Path
) -> PersonalModel:
    """The hospital's model from all slices of its scans, written to `out`.

    Raises:
        InputError: settings without `data.spatial_size`, no scan, one that cannot be read, or results that are there.
    """
    size = config.data.spatial_size
    if size is None:
        raise InputError(f"{config.file}: data.spatial_size: expected [height, width] of the slices, got none; add it")
    state = space.experts[GLOBAL]
    model = PersonalModel(_JOB, config.site, SEGMENTATION, space.network, state, size, plan=space.plan)
    reader = open_application(model, config, scans)
    assert isinstance(reader, Segmenter)  # of a model of segmentation
    ResultsFolder(reader, out).check_free(reader.names)
    if (out / PERSONAL_FILE).exists():
        raise InputError(f"{out / PERSONAL_FILE}: expected a folder without results, got this file; choose another")
    volumes: list[Any] = []
    for number, name in enumerate(with_progress(reader.names, "reading")):
        volumes += reader.read(number)[1].volumes
        print_beside(f"{name}: read, {sum(map(len, volumes))} slices in all")
    outside = Outside(
        space, Pieces(volumes, space.plan), settings, resolve_device(config.device, config.site, config.file)
    )
    started = time.perf_counter()
    made = outside.make_model(_tell_epoch)
    for line in made.notes():
        print(f"{line}, {time.perf_counter() - started:.0f} s", flush=True)
    if made.report.fallback:
        print(f"warning: the global model is used: {made.report.fallback}", file=sys.stderr, flush=True)
    model = replace(model, state=made.network.state_dict(), experts=made.experts, batch_size=settings.batch_size)
    if where := not_finite(model.state):
        raise InputError(f"{where} is not finite in the model that was made; nothing is written, use another space")
    content, _ = pack_tensors(model.state, {**model.description(), "adaptation": made.report.as_dict(), "run": ""})
    write_private(out / PERSONAL_FILE, content)
    return model


def _tell_epoch(epoch: int, terms: Mapping[str, float]) -> None:
    print(f"epoch {epoch} of adaptation, loss {terms['loss']:.4f}", flush=True)


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="flare-mri route", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        settings = AdaptationSettings.read(given_options(args, AdaptationSettings), "options")
        space = load_routing_space(args.space)
        named = read_yaml(args.site, str(args.site)).get("site")
        config = load_site_config(args.site, named if isinstance(named, str) else "outside")
        model = make_model(space, config, args.scans, settings, args.out)
        application = open_application(model, config, args.scans)
        results = ResultsFolder(application, args.out)
        results.run_all(application)
        if results.done:
            results.summarise()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 2 if results.failed else 0


if __name__ == "__main__":
    sys.exit("error: python -m flare_mri.route is called flare-mri route now; write that")
