# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""BIDS data sets with a folder of derivatives that holds labels."""

import numpy as np
import pytest

from data_files import data_settings, read_image, read_label
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.io.bids import find_bids, find_unlabelled

IMAGE = np.random.default_rng(0).integers(0, 900, (20, 24, 5)).astype(np.int16)
LABEL = np.zeros((20, 24, 5), np.uint8)
LABEL[5:9, 6:12, 1:4] = 17
LABEL[6, 7, 2] = 53
MANUAL = "derivatives/manual"
TABLE = "index\tname\tcolor\n0\tBackground\t#000000\n17\tLeft-Hippocampus\t#ff0000\n53\tRight Hippocampus\t#00ff00\n"


@pytest.fixture
def dataset(tmp_path, write_nifti):
    """Writes images, labels and tables by their paths; returns the settings."""

    def dataset(*names, **keys):
        for name in names:
            if name.endswith(".tsv"):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(TABLE)
            else:
                write_nifti(tmp_path / name, LABEL if name.startswith("derivatives") else IMAGE)
        return data_settings("bids", tmp_path, **{"suffix": "T1w", **keys})

    return dataset


def labels_of(settings):
    return [None if scan.label is None else scan.label.files[0].name for scan in find_bids(settings)]


def test_images_sessions_and_their_labels(dataset):
    settings = dataset(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
        "sub-03/func/sub-03_task-rest_bold.nii.gz",
        f"{MANUAL}/sub-01/anat/sub-01_dseg.nii.gz",
        f"{MANUAL}/sub-02/ses-a/anat/sub-02_ses-a_run-1_space-orig_desc-manual_dseg.nii.gz",
        f"{MANUAL}/sub-02/ses-a/anat/sub-02_ses-a_run-2_dseg.nii",
        f"{MANUAL}/sub-02/ses-b/anat/sub-02_ses-b_space-T1w_dseg.nii.gz",
    )
    with pytest.raises(ValueError, match="sub-02_ses-a_run-1_dseg"):
        find_bids(settings)  # labels without desc- are the data set's: one image has none
    (settings.root / MANUAL / "sub-02/ses-a/anat/sub-02_ses-a_run-1_space-orig_desc-manual_dseg.nii.gz").rename(
        settings.root / MANUAL / "sub-02/ses-a/anat/sub-02_ses-a_run-1_space-orig_dseg.nii.gz"
    )
    scans = find_bids(settings)
    assert [(scan.name, scan.subject) for scan in scans] == [
        ("sub-01_T1w", "sub-01"),
        ("sub-02_ses-a_run-1_T1w", "sub-02"),
        ("sub-02_ses-a_run-2_T1w", "sub-02"),
        ("sub-02_ses-b_T1w", "sub-02"),
    ]
    np.testing.assert_array_equal(read_image(scans[1]), IMAGE)
    np.testing.assert_array_equal(read_label(scans[1]), LABEL)


def test_of_several_labels_one_kind_is_taken(dataset):
    """As fMRIPrep leaves them: in two spaces, of two kinds, and a mask of the brain."""
    start = "derivatives/fmriprep/sub-01/anat/sub-01"
    more = ("_dseg", "_desc-aseg_dseg", "_desc-brain_mask", "_space-MNI152NLin6Asym_res-2_dseg", "_res-2_dseg")
    files = ("sub-01/anat/sub-01_T1w.nii.gz", *(f"{start}{end}.nii.gz" for end in more))
    assert labels_of(dataset(*files)) == ["sub-01_dseg.nii.gz"]
    assert labels_of(dataset(desc="aseg")) == ["sub-01_desc-aseg_dseg.nii.gz"]
    mask = dataset(desc="brain")
    assert labels_of(mask) == ["sub-01_desc-brain_mask.nii.gz"] and mask.find_labels() is None


@pytest.mark.parametrize(
    "table", ["dseg.tsv", "desc-a_dseg.tsv", "sub-01/anat/sub-01_desc-a_dseg.tsv", "space-orig_desc-a_dseg.tsv"]
)
def test_organs_are_those_of_the_table(dataset, table):
    label = f"{MANUAL}/sub-01/anat/sub-01{'_space-orig' if 'space' in table else ''}_desc-a_dseg.nii.gz"
    settings = dataset("sub-01/anat/sub-01_T1w.nii.gz", label, f"{MANUAL}/{table}")
    assert settings.find_labels() == {"left_hippocampus": (17,), "right_hippocampus": (53,)}
    assert dataset(labels={"both": [17, 53]}).find_labels() == {"both": (17, 53)}


def test_a_table_of_other_labels_is_none_of_these(dataset):
    files = ("sub-01/anat/sub-01_T1w.nii.gz", f"{MANUAL}/sub-01/anat/sub-01_dseg.nii.gz")
    assert dataset(*files, f"{MANUAL}/desc-aseg_dseg.tsv").find_labels() == {"organ": (1,)}


def test_subjects_are_never_divided(dataset, load, tmp_path):
    names = [f"sub-{s:02d}/ses-{v}/anat/sub-{s:02d}_ses-{v}" for s in range(6) for v in "abc"]
    dataset(*(f"{name}_T1w.nii.gz" for name in names), *(f"{MANUAL}/{name}_dseg.nii.gz" for name in names))
    config = load(
        "data: {format: bids, root: ., suffix: T1w, labels: {organ: [17, 53]}}\n"
        "split: {train: 0.5, validation: 0.17, test: 0.33}"
    )
    data = SegmentationData(config, seed=1)
    parts = [{data.volumes[number].subject for number, _ in part.indices} for part in (data.train, data.test)]
    assert [len(part) for part in parts] == [3, 2] and not parts[0] & parts[1]
    assert {data.volumes[number].subject for number, _ in data.validation.indices}.isdisjoint(parts[0] | parts[1])


def test_sites_and_new_scans_without_labels(dataset, tmp_path):
    settings = dataset("sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "derivatives" / "mriqc").mkdir(parents=True)
    assert labels_of(settings) == [None] and [scan.name for scan in find_unlabelled(settings)] == ["sub-01_T1w"]
    (tmp_path / "flat").mkdir()
    (tmp_path / "sub-01/anat/sub-01_T1w.nii.gz").rename(tmp_path / "flat" / "any name.nii.gz")
    flat = settings.model_copy(update={"root": tmp_path / "flat", "derivative": "manual"})
    assert [scan.name for scan in find_unlabelled(flat)] == ["any name"]


def test_links_within_the_data_set_are_followed(dataset, tmp_path):
    """As DataLad keeps large files."""
    settings = dataset("sub-01/anat/sub-01_T1w.nii.gz")
    path = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    (tmp_path / ".git/annex").mkdir(parents=True)
    path.rename(tmp_path / ".git/annex/content")
    path.symlink_to("../../.git/annex/content")
    np.testing.assert_array_equal(read_image(find_bids(settings)[0]), IMAGE)


ONE, LABEL_ONE = "sub-01/anat/sub-01_T1w.nii.gz", f"{MANUAL}/sub-01/anat/sub-01_dseg.nii.gz"
TWO = "sub-02/anat/sub-02_T1w.nii.gz"


@pytest.mark.parametrize(
    ("names", "keys", "words"),
    [
        (["sub-01/anat/sub-01_T2w.nii.gz"], {}, ["data.root", "*_T1w.nii.gz", "got none", "data.suffix"]),
        ([ONE, LABEL_ONE, TWO], {}, ["sub-02_T1w.nii.gz", "sub-02_dseg.nii.gz", "other images have"]),
        (
            [ONE, LABEL_ONE, LABEL_ONE.replace("_dseg", "_seg-a_dseg")],
            {},
            ["expected one label of sub-01", "data.desc"],
        ),
        ([ONE, LABEL_ONE[:-3], LABEL_ONE], {}, ["expected one label of sub-01"]),
        ([ONE, ONE[:-3]], {}, ["expected one image of sub-01", "remove one"]),
        (["sub-01/anat/sub-02_T1w.nii.gz"], {}, ["sub-02_T1w", "BIDS name sub-01_", "rename it"]),
        (["sub-01/ses-1/anat/sub-01_T1w.nii.gz"], {}, ["BIDS name sub-01_ses-1_"]),
        (["sub-01/anat/sub-01_run-1_run-2_T1w.nii.gz"], {}, ["BIDS name sub-01_"]),
        (["sub-01/anat/sub-01_my scan_T1w.nii.gz"], {}, ["BIDS name sub-01_"]),
        (["sub-0\n1/anat/sub-0\n1_T1w.nii.gz"], {}, ["BIDS name", "rename it"]),
        ([ONE, LABEL_ONE.replace("_dseg", "_space-MNI_dseg")], {}, ["space-MNI", "on the voxels of the images"]),
        ([ONE, LABEL_ONE], {"desc": "a"}, ["data.desc", "no label has desc-", "'a'"]),
        ([ONE, LABEL_ONE], {"derivative": "other"}, ["data.derivative", "a folder in", "'other'"]),
        ([ONE, "derivatives/x/dseg.tsv", LABEL_ONE], {}, ["data.derivative", "got manual, x", "that of the labels"]),
        ([ONE, "derivatives/x/dseg.tsv"], {"derivative": "x"}, ["data.derivative", "*_dseg.nii.gz", "got none"]),
    ],
)
def test_what_is_wrong(dataset, refused, names, keys, words):
    refused(lambda: find_bids(dataset(*names, **keys)), *words)


@pytest.mark.parametrize("key", ["suffix", "desc", "derivative"])
@pytest.mark.parametrize("value", ["../x", "/etc", "a/b", "", ".", "a|b"])
def test_names_in_settings_lead_nowhere_else(dataset, refused, key, value):
    refused(lambda: dataset(ONE, **{key: value}), f"data.{key}", "correct it")


@pytest.mark.parametrize("place", ["sub-02", "sub-02/anat", TWO, "derivatives", MANUAL, f"{MANUAL}/dseg.tsv"])
def test_links_out_of_the_data_set(dataset, refused, tmp_path, tmp_path_factory, place):
    settings = dataset(ONE, *([LABEL_ONE] if place.endswith("tsv") else []))
    outside = tmp_path_factory.mktemp("outside") / "secret"
    if place.endswith((".gz", ".tsv")):
        outside.write_text(TABLE)
    else:
        outside.mkdir()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).symlink_to(outside)
    refused(lambda: [find_bids(settings), settings.find_labels()], str(tmp_path / place), "a link out of it")


def test_a_link_to_nothing(dataset, refused, tmp_path):
    settings = dataset(ONE)
    (tmp_path / ONE.replace("_T1w", "_run-2_T1w")).symlink_to("nothing")
    refused(lambda: find_bids(settings), "run-2_T1w.nii.gz", "a link to none", "fetch its content")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"index,name\n1,a\n", ["columns index and name with tabs", "'index,name'"]),
        (b"", ["columns index and name"]),
        (b"index\tname\nx\ta\n", ["line 2", "an index of its own", "'x'"]),
        (b"index\tname\n-1\ta\n", ["line 2", "'-1'"]),
        (b"index\tname\n1\n", ["line 2", "a name", "''"]),
        (b"index\tname\n1\t--\n", ["line 2", "'--'"]),
        (b"index\tname\n1\ta\n1\tb\n", ["line 3", "an index of its own"]),
        (b"index\tname\n1\ta b\n2\tA-B\n", ["every name once", "'a_b'"]),
        (b"index\tname\n" + b"".join(b"%d\ta%d\n" % (n, n) for n in range(1, 70)), ["at most 64 organs"]),
        (b"index\tname\n99999\ta\n", ["line 2", "32768"]),
        (b"\xff\xfe", ["UTF-8"]),
        (b"x" * (2**20 + 1), ["at most 1048576 bytes"]),
    ],
)
def test_wrong_tables(dataset, refused, tmp_path, content, words):
    settings = dataset(ONE, LABEL_ONE)
    (tmp_path / MANUAL / "dseg.tsv").write_bytes(content)
    refused(settings.find_labels, "dseg.tsv", *words)


def test_tables_that_contradict_each_other(dataset, refused, tmp_path):
    settings = dataset(ONE, LABEL_ONE, TWO, LABEL_ONE.replace("sub-01", "sub-02"), f"{MANUAL}/dseg.tsv")
    other = tmp_path / MANUAL / "sub-02/anat/sub-02_dseg.tsv"
    other.write_text("index\tname\n17\tright\n")
    refused(settings.find_labels, "sub-02_dseg.tsv", "in all such tables", "17 'right'")
    other.write_text("index\tname\n18\tmore\n")
    assert list(dataset().find_labels()) == ["left_hippocampus", "more", "right_hippocampus"]
