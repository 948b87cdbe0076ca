# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from flare_mri.errors import InputError
from flare_mri.report.examples import CASES, find_examples, load_examples


def test_reads_what_a_site_stored(tmp_path, examples):
    found = load_examples(examples(tmp_path / "examples.npz"))
    assert found.target.shape == (2, 24, 20) and found.keys == [("0", "5"), ("3", "9")]
    assert found.index(("3", "9")) == 1 and found.index(("3", "5")) is None
    assert load_examples(examples(tmp_path / "b.npz", features=None)).features is None


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"output": None}, "output: expected an array, got none"),
        ({"target": np.zeros((24, 20))}, "target: expected the shape"),
        ({"output": np.zeros((2, 9, 9))}, r"output: expected the shape \(2, 24, 20\), got \(2, 9, 9\)"),
        ({"slice": np.zeros(3)}, "slice: expected the shape"),
        ({"input": np.full((2, 24, 20), np.nan)}, "input: expected finite"),
        ({"features": np.zeros(4)}, "features: expected the shape"),
        ({"input": np.full((2, 24, 20), {}, dtype=object)}, "cannot be read"),
        ({"score": np.zeros(2)}, r"rank: expected the shape \(2,\), got none"),
        ({"score": np.zeros(2), "rank": np.zeros(3), "ranked": np.zeros(2)}, "rank: expected the shape"),
        ({"axcodes": np.array(["PLS", ""])}, "spacing: expected 2 pairs of mm"),
        ({"axcodes": np.array(["PLS", "PPS"]), "spacing": np.ones((2, 2))}, "axcodes: expected 2 such as PLS"),
        ({"axcodes": np.array(["PLS", ""]), "spacing": np.array([[1, 1], [0, 1]])}, "spacing: expected 2 pairs of mm"),
        ({"score": np.array([np.inf, 1]), "rank": np.zeros(2), "ranked": np.zeros(2)}, "score: expected finite"),
    ],
)
def test_bad_arrays_are_named(tmp_path, examples, replaced, words):
    path = examples(tmp_path / "examples.npz", **replaced)
    with pytest.raises(InputError, match=words) as caught:
        load_examples(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_missing_and_truncated_files(tmp_path, examples):
    with pytest.raises(InputError, match="no such file"):
        load_examples(tmp_path / "examples.npz")
    path = examples(tmp_path / "examples.npz")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        load_examples(path)


def test_stores_are_found_by_job_and_site(results, stores):
    found = find_examples(results, [stores])
    assert {method: sorted(sites) for method, sites in found.items()} == {
        "FedMRI": ["site-1", "site-10", "site-2"], "FedAvg": ["site-1", "site-10", "site-2"],
    }  # fmt: skip
    assert found["FedAvg"]["site-2"].parts[-3:] == ("fedavg", "site-2", "examples.npz")
    only = find_examples(results, [stores / "site-2" / "site_store", stores / "site-2"])
    assert {method: list(sites) for method, sites in only.items()} == {"FedMRI": ["site-2"], "FedAvg": ["site-2"]}
    assert find_examples(results, []) == {}


def test_stores_that_cannot_be_right_are_refused(results, stores, tmp_path, examples):
    with pytest.raises(InputError, match="found none; check --stores"):
        find_examples(results, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="for job fedavg, fedmri, found none"):
        find_examples(results, [tmp_path / "empty"])
    examples(stores / "old" / "fedmri" / "site-1" / "examples.npz")
    with pytest.raises(InputError, match="site site-1: expected one store of job fedmri, also found"):
        find_examples(results, [stores])


def test_a_file_that_names_its_method_is_of_that_method_alone(segmentation, tmp_path, examples):
    for method in segmentation["methods"].values():
        method["job"] = "one-job"
    store = tmp_path / "one-job" / "outside"
    routed = examples(store / "examples.npz", labels=True, method=np.array("Routing"))
    assert find_examples(segmentation, [tmp_path]) == {"Routing": {"outside": routed}}
    both = examples(store / "examples-global.npz", labels=True, method=np.array("Global"))
    assert find_examples(segmentation, [tmp_path]) == {"Global": {"outside": both}, "Routing": {"outside": routed}}


def test_worst_median_and_best_are_told_by_rank(tmp_path, examples):
    images = {name: np.zeros((6, 8, 8)) for name in ("input", "output", "target")}
    arrays = {**images, "volume": np.arange(6), "slice": np.arange(6), "score": np.array([7, np.nan, 1, 9, 3, 5.0])}
    ranks = {"rank": np.array([5, 0, 1, 6, 2, 3]), "ranked": np.full(6, 6)}
    found = load_examples(examples(tmp_path / "a.npz", **arrays, **ranks))
    assert [found.find_case(case) for case in CASES] == [2, 5, 3]
    pooled = {"rank": np.array([2, 0, 1, 2, 1, 2]), "ranked": np.full(6, 2)}  # of three sites with two scores each
    found = load_examples(examples(tmp_path / "b.npz", **arrays, **pooled))
    assert [found.find_case(case) for case in CASES] == [2, 2, 3]
    assert load_examples(examples(tmp_path / "old.npz")).find_case("worst") is None
    assert load_examples(examples(tmp_path / "d.npz", **{**arrays, **ranks, "target": None})).find_case("best") is None
    none = {"rank": np.zeros(6), "ranked": np.zeros(6)}
    assert load_examples(examples(tmp_path / "c.npz", **arrays, **none)).find_case("best") is None


def test_classical_reconstructions_are_found_where_the_results_score_them(results, stores, examples):
    file = stores / "site-2" / "site_store" / "fedavg" / "site-2" / "examples-l1.npz"
    examples(file, method=np.array("l1-ESPIRiT"))
    assert "l1-ESPIRiT" not in find_examples(results, [stores]), "left by a run before"
    results["methods"]["FedAvg"]["sites"]["site-2"]["l1_espirit"] = {"psnr": 24.0}
    found = find_examples(results, [stores])
    assert list(found) == ["l1-ESPIRiT", "FedMRI", "FedAvg"] and found["l1-ESPIRiT"] == {"site-2": file}
