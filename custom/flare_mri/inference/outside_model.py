# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The model of a hospital that never trained, made from a routing space and applied: the work of flare-mri route."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
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
from flare_mri.io.scan import Scan
from flare_mri.networks.state_check import not_finite
from flare_mri.progress import count, print_beside, with_progress
from flare_mri.routing.outside import Outside
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space
from flare_mri.tensor_file import pack_tensors
from flare_mri.training.build import resolve_device

_JOB = "route"


def make_and_apply(args: argparse.Namespace) -> int:
    """Makes the model from all scans that can be read, and applies it to them.

    Args:
        args: of :mod:`flare_mri.route`.

    Returns:
        0, or 2 where a scan failed, after a line on stderr for each.

    Raises:
        InputError: settings, the space or all scans are wrong, or there are results; nothing is written.
    """
    settings = AdaptationSettings.read(given_options(args, AdaptationSettings), "options")
    space = load_routing_space(args.space)
    named = read_yaml(args.site, str(args.site)).get("site")
    config = load_site_config(args.site, named if isinstance(named, str) else "outside")
    model = _global_model(space, config)
    reader = open_application(model, config, args.scans)
    assert isinstance(reader, Segmenter)  # of a model of segmentation
    results = ResultsFolder(reader, args.out)
    results.check_free(reader.names)
    if (out := args.out / PERSONAL_FILE).exists():
        raise InputError(f"{out}: expected a folder without results, got this file; choose another")
    readable, volumes = _read_all(reader, results)
    pieces = Pieces(volumes, space.plan)
    model = make_model(model, space, config, settings, pieces, [scan.name for scan in readable], args.out)
    application = open_application(model, config, args.scans)
    application.scans = readable
    results.run_all(application)
    return results.finish(len(reader.scans))


def _global_model(space: RoutingSpace, config: SiteConfig) -> PersonalModel:
    """The global model as the hospital's own: what reads its scans before there is another."""
    size = config.data.spatial_size
    if size is None:
        raise InputError(f"{config.file}: data.spatial_size: expected [height, width] of the slices, got none; add it")
    state = space.experts[GLOBAL]
    return PersonalModel(_JOB, config.site, SEGMENTATION, space.network, state, size, plan=space.plan)


def _read_all(reader: Segmenter, results: ResultsFolder) -> tuple[list[Scan], list[Any]]:
    """The scans that can be read, and their volumes; the others cost a line on stderr each."""
    readable, volumes = list[Scan](), list[Any]()
    for number, name in enumerate(with_progress(reader.names, "reading")):
        try:
            read = reader.read(number)[1].volumes
        except InputError as error:
            results.fail(str(error))
            continue
        readable.append(reader.scans[number])
        volumes += read
        print_beside(f"{name}: read, {count(sum(map(len, read)), 'slice')}")
    if not readable:
        scans = count(len(reader.scans), "scan")
        raise InputError(f"expected scans that can be read, got none of {scans}; nothing is written, fix them")
    return readable, volumes


def make_model(
    model: PersonalModel,
    space: RoutingSpace,
    config: SiteConfig,
    settings: AdaptationSettings,
    pieces: Pieces,
    names: Sequence[str],
    out: Path,
) -> PersonalModel:
    """The hospital's model from all slices of its scans, written to `out`.

    Args:
        model: the global one, as the hospital's own.
        pieces: of all its scans.
        names: of the scans.

    Raises:
        InputError: of another kind than the network takes, or a model that is not finite; nothing is written.
    """
    outside = Outside(space, pieces, settings, resolve_device(config.device, config.site, config.file))
    started = time.perf_counter()
    made = outside.make_model(_tell_epoch)
    for line in made.notes(names):
        print(f"{line}, {time.perf_counter() - started:.0f} s", flush=True)
    if made.report.fallback:
        print(f"warning: the global model is used: {made.report.fallback}", file=sys.stderr, flush=True)
    model = replace(
        model,
        state=made.network.state_dict(),
        experts=made.experts,
        batch_size=settings.batch_size,
        own_dice=made.known_dice(space.dice),
        distance=made.distance,
    )
    if where := not_finite(model.state):
        raise InputError(f"{where} is not finite in the model that was made; nothing is written, use another space")
    content, _ = pack_tensors(model.state, {**model.description(), "adaptation": made.report.as_dict(), "run": ""})
    write_private(out / PERSONAL_FILE, content)
    return model


def _tell_epoch(epoch: int, terms: Mapping[str, float]) -> None:
    print(f"epoch {epoch} of adaptation, loss {terms['loss']:.4f}", flush=True)
