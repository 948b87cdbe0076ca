# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/layouts.md: its site.yaml and commands, from made files of each layout to a model that is applied."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from federation import Federation
from flare_mri.flare.recipes.simulate import site_names
from flare_mri.io.nifti_file import write_nifti
from flare_mri.segment import main
from simulation import export_module

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "layouts.md"
SMALL = ["--channels", "4", "--num_pools", "2"]
SAML = ("BIDMC", "BMC", "HK", "I2CVB", "RUNMC", "UCL")
RNG = np.random.default_rng(0)


def write_pair(image: Path, label: Path | None = None, values: tuple[int, int] = (1, 2), channels: int = 1) -> None:
    """A bright and a dark block in noise, [30, 26, 4] or with channels, and their label."""
    voxels, truth = RNG.normal(100, 10, (30, 26, 4)), np.zeros((30, 26, 4), np.uint8)
    for place, value, add in ((np.s_[4:14, 4:20, 1:3], values[0], 80), (np.s_[18:26, 6:20, 1:3], values[1], -60)):
        voxels[place] += add
        truth[place] = value
    write_nifti(
        image, (np.stack([voxels, 0 * voxels + RNG.random()], 3) if channels > 1 else voxels).astype(np.float32)
    )
    if label is not None:
        write_nifti(label, truth)


def write_saml(data: Path) -> None:
    for site in SAML:
        ending = "Segmentation" if site in ("BMC", "RUNMC") else "segmentation"
        for number in range(6):
            case = data / "prostate" / site / f"Case{number:02d}"
            write_pair(Path(f"{case}.nii.gz"), Path(f"{case}_{ending}.nii.gz"), (1, 2 if site == "BMC" else 1))
            case.with_name(f"._{case.name}.nii.gz").write_bytes(b"of macOS")


def write_decathlon(data: Path) -> None:
    task, rows = data / "Task05_Prostate", []
    for number in range(9):
        row = {part: f"./{part}sTr/prostate_{number:02d}.nii.gz" for part in ("image", "label")}
        write_pair(task / row["image"], task / row["label"], channels=2)
        (task / "imagesTr" / f"._prostate_{number:02d}.nii.gz").write_bytes(b"of macOS")
        rows.append(row)
    write_pair(task / "imagesTs" / "prostate_09.nii.gz", channels=2)
    (task / "imagesTs" / "._prostate_09.nii.gz").write_bytes(b"of macOS")
    told = {"name": "PROSTATE", "tensorImageSize": "4D", "modality": {"0": "T2", "1": "ADC"}, "numTraining": 9}
    told |= {"labels": {"0": "background", "1": "PZ", "2": "TZ"}, "numTest": 1, "training": rows}
    (task / "dataset.json").write_text(json.dumps({**told, "test": ["./imagesTs/prostate_09.nii.gz"]}))


def write_bids(data: Path) -> None:
    root = data / "brains"
    for number in range(1, 10):
        for session in ("1", "2") if number < 3 else ("",):
            subject, of = f"sub-{number:02d}", f"_ses-{session}" if session else ""
            folder = Path(subject, f"ses-{session}" if session else "", "anat")
            label = root / "derivatives" / "manual" / folder / f"{subject}{of}_desc-manual_dseg.nii.gz"
            write_pair(root / folder / f"{subject}{of}_T1w.nii.gz", label, (17, 53))
    table = "index\tname\tabbreviation\n0\tBackground\tBG\n17\tLeft-Hippocampus\tLH\n53\tRight-Hippocampus\tRH\n"
    (root / "derivatives" / "manual" / "dseg.tsv").write_text(table)
    (root / "dataset_description.json").write_text('{"Name": "brains", "BIDSVersion": "1.9.0"}')


def documented(title: str, data: Path) -> tuple[str, list[list[str]]]:
    """The site.yaml of a section, made small, and the words of its commands without the program."""
    section = PAGE.read_text().split(f"## {title}\n", 1)[1].split("\n## ")[0].replace("/data", str(data))
    settings, commands = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[0] for kind in ("yaml", "bash"))
    return re.sub(r"spatial_size: \[\d+, \d+\]", "spatial_size: [32, 32]", settings), [
        shlex.split(line)[2:] for line in commands.splitlines()
    ]


@pytest.mark.parametrize(
    ("title", "write", "sites", "organs"),
    [
        ("SAML: prostate, six sites", write_saml, SAML, ["organ"]),
        ("A task of the Medical Segmentation Decathlon", write_decathlon, ["site-1"], ["pz", "tz"]),
        ("BIDS", write_bids, ["site-1"], ["left_hippocampus", "right_hippocampus"]),
    ],
    ids=["saml", "decathlon", "bids"],
)
def test_from_the_download_to_the_first_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    title: str,
    write: Callable[[Path], None],
    sites: list[str],
    organs: list[str],
) -> None:
    data = tmp_path / "data"
    write(data)
    write_pair(data / "new" / "scan.nii.gz")
    settings, (job, apply) = documented(title, data)
    for site in sites:
        (tmp_path / "sites" / site).mkdir(parents=True)
        (tmp_path / "sites" / site / "site.yaml").write_text(settings.replace("BIDMC", site))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FLARE_MRI_SITE_CONFIG", str(tmp_path / "sites" / "{SITE_NAME}" / "site.yaml"))

    module = export_module().load_job("iopfl")
    arguments = module.parse_args([*job, *SMALL])
    assert site_names(arguments) == sorted(sites)
    federation = Federation(module.build_recipe(arguments), sorted(sites), tmp_path / "run")
    results = federation.run()
    assert not federation.panics, federation.panics
    results = results["methods"]["IOP-FL"]["sites"]
    names = ["dice"] if len(organs) == 1 else [f"dice.{organ}" for organ in organs]
    assert all(0 <= results[site]["test"][name] <= 1 for site in sites for name in names)

    stores = tmp_path / "work" / "stores" / "iopfl"
    shutil.copytree(tmp_path / "run" / sites[0] / "site_store" / "iopfl" / sites[0], stores / sites[0])
    assert main(apply) == 0
    told = capsys.readouterr().out
    assert all(f"{organ} on " in told for organ in organs)
    (found,) = Path(apply[-1]).glob("*_segmentation.nii.gz")
    assert nibabel.load(found).shape == (30, 26, 4)  # type: ignore[attr-defined]
