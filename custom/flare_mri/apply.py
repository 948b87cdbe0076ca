# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri apply MODEL --site SITE_YAML --scans FOLDER --out FOLDER: a hospital's model on new scans.

MODEL is the personal.safetensors that a job left in the hospital's site store, SITE_YAML the hospital's settings as
they were for that job; their keys stand in docs/reference/site-yaml.md. Labels and reconstructions are written as NIfTI
on each scan's own voxels. Nothing is sent, and nothing that is there is overwritten; only their owner may read the
files (mode 0600) and list a folder that is made for them (0700).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flare_mri.atomic_file import write_atomically
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.inference.personal_model import PersonalModel, load_personal_model
from flare_mri.inference.raw_reconstruction import EXTRA_IMAGES, RawReconstructor
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.inference.result import Application, Result
from flare_mri.inference.segmentation import Segmenter
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION, naming_site
from flare_mri.progress import print_beside, with_progress
from flare_mri.report.extra import check_report_extra

_OVERVIEW = "overview.png"


def open_application(
    model: PersonalModel,
    config: SiteConfig,
    scans: Path | None = None,
    undersampled: bool = False,
    extra: Sequence[str] = (),
) -> Application:
    """The model with the scans it is to be applied to; everything is checked that can be without reading an image.

    Args:
        model: a hospital's own.
        config: its settings, which say how scans become what the model knows.
        scans: folder of new scans; None for the volumes that the settings name.
        undersampled: for reconstruction, see :class:`~flare_mri.inference.reconstruction.Reconstructor`.
        extra: for reconstruction of raw scans, see
            :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor`.

    Raises:
        InputError: settings without data of their own, for another task, no scan, or a state of another network.
    """
    with naming_site(config.site):
        if config.members:
            raise InputError(f"{config.file} has pooled_sites, which is for simulated sites; give those of one")
        if scans is not None and config.data.find_root() is None:
            raise InputError(f"data.format: {config.data.format} takes no folder; give settings with files or no scans")
        if scans is not None and not scans.is_dir():
            raise InputError(f"scans: expected a folder, got {scans}, which is none; correct the path")
        if undersampled and model.task == SEGMENTATION:
            raise InputError("undersampled: expected a model of reconstruction, got one of segmentation; omit it")
        data = config.data if scans is None else config.data.model_copy(update={"root": scans})
        if model.task == RECONSTRUCTION and data.is_raw():
            return RawReconstructor(model, config, scans, undersampled, extra)
        if extra:
            raise InputError(f"extra: expected a reconstruction of raw scans for {', '.join(extra)}; omit it")
        if model.task == SEGMENTATION:
            return Segmenter(model, config, scans)
        return Reconstructor(model, config, scans, undersampled)


def output_files(application: Application, out: Path) -> list[Path]:
    """The main file of each scan, none of which is there yet, nor any other of a scan.

    Raises:
        InputError: one is there, two scans would have the same, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder for the results, got a file; choose another path")
    files = [out / f"{name.replace('/', '_')}{application.ending}" for name in application.names]
    for path in files:
        if files.count(path) > 1:
            raise InputError(f"{path}: expected one scan of this name, got two; rename one of them")
    more = [_beside(path, application, ending) for path in files for ending in application.more_endings]
    for path in (*files, *more, out / _OVERVIEW):
        if path.exists():
            raise InputError(f"{path}: expected a folder without results, got this file; choose another folder")
    return files


def _beside(path: Path, application: Application, ending: str) -> Path:
    """Another file of the scan whose main file is `path`."""
    return path.with_name(path.name.removesuffix(application.ending) + ending)


def apply_all(application: Application, files: Sequence[Path]) -> tuple[dict[Path, Result], int]:
    """Applies the model scan by scan and writes each file atomically, a line each.

    A scan that cannot be read costs a line on stderr, and the others go on.

    Returns:
        What was written where, without the contents, and how many scans failed.
    """
    results: dict[Path, Result] = {}
    for number, path in enumerate(with_progress(files, "applying")):
        start = time.perf_counter()
        try:
            result = application.apply(number)
            write_private(path, result.content)
            for ending, content in result.more.items():
                write_private(_beside(path, application, ending), content)
        except InputError as error:
            print_beside(f"error: {error}", sys.stderr)
            continue
        results[path] = replace(result, content=b"", more={})
        for warning in result.warnings:
            print_beside(f"warning: {path.name}: {warning}", sys.stderr)
        print_beside(f"{path.name}: {result.text}, {time.perf_counter() - start:.1f} s")
    return results, len(files) - len(results)


def write_private(path: Path, content: bytes) -> None:
    """Writes what shows a patient: for its owner alone, and not over a file that came after `output_files` looked."""
    if not path.parent.exists():
        private_folder(path.parent, "out")
    write_atomically(path, content, mode=0o600, replace=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="flare-mri apply", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="personal.safetensors of the hospital's site store")
    parser.add_argument(
        "--site", type=Path, required=True, help="the hospital's site.yaml: spatial_size, mask, device ..."
    )
    parser.add_argument(
        "--scans",
        type=Path,
        help="folder of new scans: NIfTI files for segmentation, else laid out as data.root (default: the volumes that "
        "site.yaml names)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if missing")
    parser.add_argument(
        "--undersampled",
        action="store_true",
        help="reconstruction: the scans are undersampled already, by the protocol the model knows (default: they are "
        "fully sampled, are undersampled with the site's mask, and scored, but for raw scans with missing samples)",
    )
    parser.add_argument(
        "--extra",
        nargs="+",
        default=(),
        choices=EXTRA_IMAGES,
        help="raw scans: further images of each, beside the magnitude: phase (radians), complex, uncertainty (spread "
        "over the cascades)",
    )
    return parser


def summarise(application: Application, results: dict[Path, Result], out: Path) -> None:
    """Prints mean scores and, where the extra `report` is installed, draws the overview."""
    scores = [result.scores for result in results.values() if result.scores]
    if scores:
        means = {key: sum(score[key] for score in scores) / len(scores) for key in scores[0]}
        among = "" if len(scores) == len(results) else f" of {len(scores)} with scores"
        print(f"mean{among}: PSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.3f}, NMSE {means['nmse']:.4f}")
    predicted = {path: value for path, result in results.items() if (value := result.predicted_dice) is not None}
    if predicted:
        warned = sum(bool(results[path].warnings) for path in predicted)
        told = f"mean predicted Dice {sum(predicted.values()) / len(predicted):.2f}"
        print(f"{told}; {warned} of {_count(len(predicted), 'scan')} with a warning")
    try:
        check_report_extra(_OVERVIEW)
    except InputError as error:
        print(f"Results: {out.resolve()}; no {error}")
        return
    from flare_mri.inference.overview import overview  # matplotlib takes a second to import: only when all is done

    names = {path: path.name.removesuffix(application.ending) for path in results}
    pictures = {names[path]: result.pictures for path, result in results.items()}
    captions = {names[path]: f"predicted Dice {value:.2f}" for path, value in predicted.items()}
    write_private(out / _OVERVIEW, overview(pictures, application.organs, captions))
    print(f"Results: {out.resolve()}; to look at: {_OVERVIEW}")


def main(argv: Sequence[str] | None = None) -> int:
    """Applies the model, a line for each scan; returns 0, or 2 after a line on stderr for each input that is wrong."""
    args = build_parser().parse_args(argv)
    try:
        model = load_personal_model(args.model)
        config = load_site_config(args.site, model.site)
        application = open_application(model, config, args.scans, args.undersampled, args.extra)
        files = output_files(application, args.out)
        routed = f", routed over {len(model.experts)} models" if model.experts else ""
        print(f"{model.task}: {model.job}'s model of {model.site}{routed}; {_count(len(files), 'scan')}", flush=True)
        results, failed = apply_all(application, files)
        if results:
            summarise(application, results, args.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if failed:
        print(
            f"error: {failed} of {_count(len(files), 'scan')} failed, as told above; fix or move them", file=sys.stderr
        )
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit("error: python -m flare_mri.apply is called flare-mri apply now; write that")
