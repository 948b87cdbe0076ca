# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The model of a hospital that never trained, made from a routing space and applied: the work of flare-mri route."""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import given_options
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


def make_and_apply(args: argparse.Namespace) -> int:
    """Makes and applies the model.

    Args:
        args: of :mod:`flare_mri.route`.

    Returns:
        0, or 2 where a scan failed, after a line on stderr.

    Raises:
        InputError: settings, the space or the scans are wrong.
    """
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
    return 2 if results.failed else 0


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
    state, dice = made.network.state_dict(), made.known_dice(space.dice)
    model = replace(model, state=state, experts=made.experts, batch_size=settings.batch_size, own_dice=dice)
    if where := not_finite(model.state):
        raise InputError(f"{where} is not finite in the model that was made; nothing is written, use another space")
    content, _ = pack_tensors(model.state, {**model.description(), "adaptation": made.report.as_dict(), "run": ""})
    write_private(out / PERSONAL_FILE, content)
    return model


def _tell_epoch(epoch: int, terms: Mapping[str, float]) -> None:
    print(f"epoch {epoch} of adaptation, loss {terms['loss']:.4f}", flush=True)
