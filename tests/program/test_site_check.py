# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What flare-mri site check finds: counts and sizes of made data, and every problem in a line with file and fix."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image

from cases import label_of, write_case
from flare_mri.datasets.patients import find_patients
from flare_mri.io.dicom import write_dicom_slice
from flare_mri.io.formats import FORMATS
from flare_mri.program.main import main
from flare_mri.program.site_check import TO_CORRECT
from layouts import write_fastmri, write_raw

Capture = pytest.CaptureFixture[str]
IN_FILES = [name for name, entry in FORMATS.items() if entry.write_sample is not None]


def init(folder: Path, *options: str) -> Path:
    """Writes site.yaml beside the folder; returns its path."""
    out = folder.parent / "site.yaml"
    assert main(["site", "init", str(folder), "--out", str(out), *options]) == 0
    return out


def check(path: Path, capsys: Capture, *options: str) -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, what was printed as JSON, and the lines of stderr."""
    capsys.readouterr()
    status = main(["site", "check", str(path), "--json", *options])
    told = capsys.readouterr()
    return status, json.loads(told.out) if told.out else {}, told.err.splitlines()


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Five cases of a site that segments, written as its site.yaml says."""
    for number in range(5):
        write_case(tmp_path / "data", f"Case{number:02d}", label_of(1))
    return tmp_path / "data"


def write_list(folder: Path, **sections: list[str]) -> None:
    rows = {
        section: [{"image": f"{name}.nii.gz", "label": f"{name}_segmentation.nii.gz"} for name in names]
        for section, names in sections.items()
    }
    (folder / "datalist.json").write_text(json.dumps(rows))


@pytest.mark.parametrize("name", IN_FILES)
def test_a_sample_of_a_format_has_nothing_to_correct(name: str, sample: Callable[[str], Path], capsys: Capture) -> None:
    status, found, lines = check(init(sample(name)), capsys)
    assert (status, found["problems"], lines) == (0, [], [])
    for task in FORMATS[name].tasks:
        volumes = found["volumes"][task]
        assert found["data"][task]["scans"] == len(volumes) == found[task]["volumes"] >= 2
        assert all(set(one["parts"]) <= {"train", "validation", "test"} and one["parts"] for one in volumes)
        for one in volumes:
            lowest, median, high, highest = one["intensities"].values()
            assert lowest <= median <= high <= highest and len(one["shape"]) == 3


def test_numbers_are_those_of_the_files(tmp_path: Path, capsys: Capture) -> None:
    affine = np.diag([-2.0, 3, 4, 1])
    for number in range(4):
        write_case(tmp_path / "data", f"Case{number}", label_of(*(1, 2)[: 1 + number % 2]), affine)
    path = init(tmp_path / "data")
    path.write_text(path.read_text().replace("data:\n", "data:\n  labels: {a: 1, b: 2}\n"))
    status, found, _ = check(path, capsys)
    told = found["data"]["segmentation"]
    assert status == 0 and told["orientations"] == {"LAS": 4} and told["spacings in mm"] == {"2x3x4": 4}
    assert told["sizes"] == {"24x20x6": 4} and told["parts"] == found_parts(found)
    box = 3 * 6 * 3 * 2 * 3 * 4 / 1000  # ml
    assert told["organs"]["a"] == {"scans": 4, "slices": [3, 3, 3], "ml": [pytest.approx(box, rel=1e-3)] * 3}
    assert told["organs"]["b"]["scans"] == 2
    voxels = np.asarray(nibabel.load(tmp_path / "data" / "Case0.nii.gz").dataobj)
    first = found["volumes"]["segmentation"][0]["intensities"]
    assert [first["lowest"], first["median"], first["highest"]] == [voxels.min(), np.median(voxels), voxels.max()]


def test_images_taken_as_negatives_are_told(cases: Path, capsys: Capture) -> None:
    path = init(cases)
    assert not any("data.inverted" in note for note in check(path, capsys)[1]["notes"])
    path.write_text(path.read_text().replace("data:\n", "data:\n  inverted: true\n"))
    status, found, _ = check(path, capsys)
    assert status == 0
    assert found["notes"].count("data.inverted: images are taken as their negatives, in training and of new scans") == 1


def test_contrasts_are_told_as_the_files_call_them(tmp_path: Path, capsys: Capture) -> None:
    """Those of which a model later says that it does not know them."""
    write_raw(tmp_path)
    write_fastmri(tmp_path)
    measured = tmp_path / "knee_multicoil_val"
    for number, path in enumerate(sorted(measured.iterdir())):
        with h5py.File(path, "a") as file:
            file.attrs["acquisition"] = "CORPD_FBK" if number else "CORPDFS_FBK"
    told = "contrasts, as the files say: CORPD_FBK (5), CORPDFS_FBK (1); a model knows those that it learned from"
    path = init(measured)
    assert told in path.read_text()
    _, found, _ = check(path, capsys)
    assert found["data"]["reconstruction"]["contrasts"] == {"CORPD_FBK": 5, "CORPDFS_FBK": 1}
    assert [one["contrast"] for one in found["volumes"]["reconstruction"]].count("CORPD_FBK") == 5
    path.unlink()
    silent = init(tmp_path / "raw")
    assert "as the files say" not in silent.read_text()


def found_parts(found: dict[str, Any]) -> dict[str, int]:
    parts = [" and ".join(one["parts"]) for one in found["volumes"]["segmentation"]]
    return {part: parts.count(part) for part in parts}


def unreadable(folder: Path) -> str:
    path = folder / "Case01.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    return f"{path}: expected it to be readable"


def other_shape(folder: Path) -> str:
    label = nibabel.Nifti1Image(np.ones((24, 18, 6), np.uint8), np.eye(4))
    nibabel.save(label, folder / "Case02_segmentation.nii.gz")
    return f"{folder / 'Case02.nii.gz'}: its label: expected the image's shape [24, 20, 6], got [24, 18, 6]; give"


def other_grid(folder: Path) -> str:
    affine = np.eye(4)
    affine[0, 3] = 5
    label = nibabel.Nifti1Image(label_of(1).astype(np.uint8), affine)
    nibabel.save(label, folder / "Case02_segmentation.nii.gz")
    return f"{folder / 'Case02.nii.gz'}: its label: expected"


def not_finite(folder: Path) -> str:
    voxels = np.ones((24, 20, 6), np.float32)
    voxels[3, 4, 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "Case03.nii.gz")
    return f"{folder / 'Case03.nii.gz'}: expected finite values, got 1 NaN"


def copied(folder: Path) -> str:
    """The same voxels, packed in another way."""
    path = folder / "Case04.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress((folder / "Case00.nii.gz").read_bytes()), 1))
    return f"{path}"


def without_label(folder: Path) -> str:
    (folder / "Case03_segmentation.nii.gz").unlink()
    return f"{folder / 'Case03.nii.gz'}: expected Case03_segmentation.nii.gz beside it"


@pytest.mark.parametrize("spoil", [unreadable, other_shape, other_grid, not_finite, copied, without_label])
def test_a_problem_is_one_line_with_file_and_fix(cases: Path, spoil: Callable[[Path], str], capsys: Capture) -> None:
    path = init(cases)
    expected = spoil(cases)
    status, found, lines = check(path, capsys)
    assert status == TO_CORRECT and [f"problem: {line}" for line in found["problems"]] == lines
    assert any(line.startswith(f"problem: {expected}") and "; " in line for line in lines), lines
    assert len(lines) == (2 if spoil is not_finite else 1)


def test_every_problem_is_told_not_the_first_alone(cases: Path, capsys: Capture) -> None:
    path = init(cases)
    expected = [spoil(cases) for spoil in (unreadable, other_shape, copied)]
    status, found, lines = check(path, capsys)
    assert status == TO_CORRECT and len(lines) == 3 and "segmentation" not in found
    assert all(any(line.startswith(f"problem: {words}") for line in lines) for words in expected)


def test_the_same_scan_in_two_parts_names_both(cases: Path, capsys: Capture) -> None:
    write_list(cases, training=["Case00", "Case01"], validation=["Case02"], test=["Case03", "Case04"])
    copied(cases)
    status, _, lines = check(init(cases, "--format", "decathlon"), capsys)
    first, other = cases / "Case00.nii.gz", cases / "Case04.nii.gz"
    assert status == TO_CORRECT
    assert lines == [
        f"problem: {other} (test): expected each image once, got the content of {first} (train); take one of them out"
    ]


def test_a_patient_in_two_parts_of_a_list(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "data"
    names = ["sub-01_a", "sub-01_b", "sub-02_a", "sub-03_a"]
    for name in names:
        write_case(folder, name, label_of(1))
    write_list(folder, training=[names[0], names[3]], test=names[1:3])
    status, found, lines = check(init(folder, "--format", "decathlon"), capsys)
    assert status == TO_CORRECT and len(lines) == 1 and str(folder / names[0]) in lines[0]
    assert "expected patient sub-01 in one part, got scans in train (sub-01_a.nii.gz) and test" in lines[0]
    assert f"one section of {folder / 'datalist.json'}" in lines[0]
    assert found["data"]["segmentation"]["patients"] == 3


def test_a_split_by_volume_that_divides_a_patient(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "data"
    for number in range(8):
        write_case(folder, f"patient{number // 4:02d}_visit{number % 4}", label_of(1))
    status, _, lines = check(init(folder), capsys)
    assert status == TO_CORRECT and all("in one part, got scans in" in line for line in lines) and 1 <= len(lines) <= 2


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (("sub-01_T1w", "sub-02_T1w"), ("sub-01", "sub-02")),
        (("a/patient001_ed", "a/patient001_es", "a/patient002"), ("patient001", "patient001", "patient002")),
        (("T2_0001", "T2_0002"), ("T2_0001", "T2_0002")),
        (tuple(f"BraTS20_{n}" for n in range(9)), tuple(f"BraTS20_{n}" for n in range(9))),
    ],
)
def test_patients_by_names(names: tuple[str, ...], patients: tuple[str, ...]) -> None:
    from flare_mri.io.scan import Scan, ScanFile

    scans = [Scan(name, name, ScanFile((Path(f"/data/{name}.nii.gz"),), None)) for name in names]  # type: ignore[arg-type]
    assert tuple(find_patients(scans).values()) == patients


def test_series_of_one_patient_are_not_divided_by_volume(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        for at in range(3):
            path = tmp_path / "data" / f"series{number}" / f"{at}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            place = {"ImagePositionPatient": [0, 0, 5 * at], "PatientID": f"P{number // 2}"}
            write_dicom_slice(path, rng.integers(1, 1000, (20, 18)), **place)
    path = init(tmp_path / "data")
    path.write_text(path.read_text().replace("by: slice", "by: volume"))
    status, found, lines = check(path, capsys)
    assert (status, lines) == (0, []) and found["data"]["reconstruction"]["patients"] == 6


def test_a_page_and_a_sheet_are_written_for_the_owner_alone(cases: Path, tmp_path: Path, capsys: Capture) -> None:
    (cases / "Case<b>.nii.gz").write_bytes((cases / "Case01.nii.gz").read_bytes())
    shutil.copy(cases / "Case01_segmentation.nii.gz", cases / "Case<b>_segmentation.nii.gz")
    path, look = init(cases), tmp_path / "look"
    status, _, _ = check(path, capsys, "--page", str(look))
    page, sheet = look / "index.html", look / "contact-sheet.png"
    assert status == TO_CORRECT and look.stat().st_mode & 0o777 == 0o700
    assert page.stat().st_mode & 0o777 == sheet.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert text.count("<img ") == 6 and "case&lt;b&gt;" in text and "<b>" not in text and "expected each image" in text
    assert "<figcaption>slice " in text and re.search(r"slice [1-9][0-9]* of [0-9]+, ", text)
    assert "http" not in text.replace("http-equiv", "")
    with Image.open(sheet) as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert picture.width > 6 * 240 and (np.abs(colours.astype(int) - (255, 214, 10)).sum(1) < 30).sum() > 500
    assert main(["site", "check", str(path), "--page", str(look)]) == 2
    assert f"{page}: expected a folder without a page" in capsys.readouterr().err


def test_plain_text_is_yaml(cases: Path, capsys: Capture) -> None:
    path = init(cases)
    capsys.readouterr()
    assert main(["site", "check", str(path)]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["problems"] == 0 and found["segmentation"]["slices"]["train"] and "volumes" not in found
    assert found["site"] == path.parent.name


@pytest.mark.parametrize("text", ["data: {format: nifti, root: /nowhere}", "pooled_sites: [site-1]", "data: ["])
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, capsys: Capture) -> None:
    (tmp_path / "site.yaml").write_text(text)
    status, found, lines = check(tmp_path / "site.yaml", capsys)
    assert status == 2 and not found and len(lines) == 1 and lines[0].startswith("error: ")


def test_a_folder_that_is_no_kit_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "site.yaml").write_text("data: {format: phantom}")
    status, _, lines = check(tmp_path, capsys)
    assert status == 2 and lines == [
        f"error: {tmp_path}: expected a site.yaml or a startup kit, got a folder; give {tmp_path / 'site.yaml'}"
    ]
