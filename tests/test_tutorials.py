# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""docs/tutorials: their site.yaml and commands, from made files of each layout to a model that is applied."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import pytest

from federation import Federation
from flare_mri.config.where import site_names
from flare_mri.program.main import main
from layouts import (
    SAML,
    write_bids,
    write_brats,
    write_decathlon,
    write_dicom,
    write_fastmri,
    write_pair,
    write_raw,
    write_saml,
)
from simulation import export_module

PAGES = Path(__file__).parents[1] / "docs" / "tutorials"
SMALL = ["--channels", "4", "--num_pools", "2"]


class Reader:
    """Who follows a tutorial, in an empty folder, with made files in place of /data."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results: dict[str, dict] = {}

    def block(self, page: str, kind: str, section: str = "") -> list[str]:
        """The lines of the blocks of a kind in a page or one of its sections."""
        text = (PAGES / f"{page}.md").read_text().split(f"## {section}\n" if section else "# ", 1)[1]
        text = text.split("\n## ")[0] if section else text
        found = "".join(re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL))
        return found.replace("/data", str(self.folder / "data")).splitlines()

    def describe(self, sites: tuple[str, ...], settings: list[str]) -> None:
        """Writes the site.yaml that is shown, made small, for every site."""
        small = re.sub(r"spatial_size: \[\d+, \d+\]", "spatial_size: [32, 32]", "\n".join(settings))
        for site in sites:
            path = self.folder / "sites" / site / "site.yaml"
            path.parent.mkdir(parents=True)
            if small:
                path.write_text(small.replace("BIDMC", site))

    def follow(self, commands: list[str]) -> None:
        """Runs the commands in their order; a job in this process, over FLARE's wire format."""
        for line in commands:
            words = shlex.split(line)
            if words[1] == "train":
                self._train(words[2], words[3:])
            elif words[0] == "flare-mri":
                assert main(words[1:]) == 0, line

    def _train(self, job: str, words: list[str]) -> None:
        module = export_module().load_job(job)
        arguments = module.parse_args([*words, *SMALL])
        sites = site_names(arguments)
        federation = Federation(module.build_recipe(arguments), sites, self.folder / "run" / job)
        self.results = next(iter(federation.run()["methods"].values()))["sites"]
        assert not federation.panics, federation.panics
        for site in sites:
            store = Path("site_store") / job / site
            shutil.copytree(self.folder / "run" / job / site / store, self.folder / "work" / "stores" / job / site)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FLARE_MRI_SITE_CONFIG", str(tmp_path / "sites" / "{SITE_NAME}" / "site.yaml"))
    return Reader(tmp_path)


@pytest.mark.parametrize(
    ("page", "write", "result"),
    [
        ("dicom", write_dicom, "dicom/t1"),
        ("brats", write_brats, "brats/BraTS2021_00009_flair"),
        ("fastmri", write_fastmri, "knee/file1000000"),
        ("ismrmrd", write_raw, "raw/scan0"),
    ],
)
def test_reconstruction(reader: Reader, page: str, write: Callable[[Path], None], result: str) -> None:
    write(reader.folder / "data")
    reader.describe(("hospital-1",), reader.block(page, "yaml"))
    reader.follow(reader.block(page, "bash"))
    assert reader.results["hospital-1"]["test"]["psnr"] > 0
    assert nibabel.load(f"results/{result}_reconstruction.nii.gz").ndim == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("page", "section", "write", "sites", "organs"),
    [
        (
            "decathlon-and-bids",
            "A task of the Medical Segmentation Decathlon",
            write_decathlon,
            ("site-1",),
            ("pz", "tz"),
        ),
        ("decathlon-and-bids", "BIDS", write_bids, ("site-1",), ("left_hippocampus", "right_hippocampus")),
        ("prostate", "", write_saml, SAML, ("organ",)),
    ],
    ids=["decathlon", "bids", "prostate"],
)
def test_segmentation(
    reader: Reader,
    capsys: pytest.CaptureFixture[str],
    page: str,
    section: str,
    write: Callable[[Path], None],
    sites: tuple[str, ...],
    organs: tuple[str, ...],
) -> None:
    write(reader.folder / "data")
    write_pair(reader.folder / "data" / "new" / "scan.nii.gz")
    reader.describe(sites, reader.block(page, "yaml", section))
    reader.follow(reader.block(page, "bash", section))
    names = ["dice"] if len(organs) == 1 else [f"dice.{organ}" for organ in organs]
    assert all(0 <= reader.results[site]["test"][name] <= 1 for site in sites for name in names)
    told = capsys.readouterr().out
    assert all(f"{organ} on " in told for organ in organs)
    (found,) = Path("results").glob("*/*_segmentation.nii.gz")
    assert nibabel.load(found).shape == (30, 26, 4)  # type: ignore[attr-defined]


def test_a_hospital_outside(reader: Reader) -> None:
    write_saml(reader.folder / "data")
    write_pair(reader.folder / "data" / "new" / "scan.nii.gz")
    reader.describe(SAML, reader.block("prostate", "yaml"))
    train, route, apply, leave_out = reader.block("outside", "bash")
    reader.follow([train])
    assert sorted(reader.results) == [site for site in SAML if site != "UCL"]
    shutil.copy("run/iopfl/server/routing_space.safetensors", ".")
    reader.follow([route, apply])
    assert len(list(Path("results/UCL").glob("*_segmentation.nii.gz"))) == 6
    assert Path("results/new/scan_segmentation.nii.gz").is_file()
    assert "--outside UCL" in leave_out  # whole, in tests/jobs/test_iopfl_job.py
