# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import json
import os

import numpy as np
import pytest

from flare_mri.errors import InputError
from flare_mri.report import load_results, merge_results, save_results, summary_table, validate_results


def test_what_is_saved_is_loaded(results, tmp_path):
    path = save_results(results, tmp_path / "new folder" / "results.json")
    assert load_results(path) == results
    assert os.listdir(path.parent) == ["results.json"]  # no temporary file stays


def test_numpy_scalars_and_numbers_that_json_lacks(results, tmp_path):
    test = results["methods"]["FedMRI"]["sites"]["site-1"]["test"]
    test |= {"psnr": np.float32(28.5), "ssim": float("nan")}
    path = save_results(results, tmp_path / "results.json")
    strict = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert strict["methods"]["FedMRI"]["sites"]["site-1"]["test"] == {**test, "psnr": 28.5, "ssim": None}


def test_nan_in_a_file_is_read_as_missing(results, tmp_path):
    results["methods"]["FedMRI"]["sites"]["site-1"]["test"]["psnr"] = float("nan")
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert load_results(tmp_path / "results.json")["methods"]["FedMRI"]["sites"]["site-1"]["test"]["psnr"] is None


def test_a_failed_save_leaves_the_old_file(results, tmp_path):
    path = save_results(results, tmp_path / "results.json")
    with pytest.raises(InputError, match="seed"):
        save_results({**results, "methods": {"A": {"job": "a", "created": ""}}}, path)
    assert load_results(path) == results


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b'{"format_version": 1, "meth', "line 1: not valid JSON"),
        (b"\x89PNG\xff\xfe", "binary"),
        (b"[]", "expected an object"),
        (b'{"format_version": 2, "versions": {}, "methods": {}}', "format_version: expected 1, got 2"),
        (b'{"format_version": 1, "versions": {}, "methods": {}}', "at least one method"),
    ],
)
def test_bad_files_are_one_line_that_names_the_file(tmp_path, content, words):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        load_results(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (["seed"], "seven", r"methods.FedMRI.seed: expected a whole number, got 'seven'"),
        (["seed"], True, "seed"),
        (["sites", "site-1", "test", "psnr"], "28", r"sites.site-1.test.psnr: expected a number"),
        (["sites", "site-1", "test"], {"loss": 1.0}, "at least one of psnr"),
        (["sites", "site-1", "zero_filled"], {"test": {"psnr": 1.0}}, "zero_filled: expected at least one of"),
        (["sites", "site-1", "best"], {}, "best.round: expected a round number, got nothing"),
        (["sites", "site-1", "routing"], {"experts": ["a"], "layers": ["x"], "weights": [[1, 2]]}, "weights.0.: exp"),
        (
            ["sites", "site-1", "routing"],
            {"experts": [], "layers": ["x"], "weights": [[]]},
            "experts: expected at least 1, ",
        ),
        (
            ["sites", "site-1", "routing"],
            {"experts": ["a"], "layers": [], "weights": []},
            "layers: expected at least 1, ",
        ),
        (
            ["sites", "site-1", "routing"],
            {"experts": ["a"], "layers": ["x"], "weights": []},
            "weights: expected 1 rows",
        ),
        (["sites", "site-1", "entropy"], {"before": 1.0}, "entropy.after: expected a number, got nothing"),
        (["sites", "site-1\nx"], {"note": 1}, r"sites.'site-1\\nx'.note: expected text, got 1; use the results"),
        (["settings"], [], r"settings: expected an object, got \[\]"),
        (["sites"], {}, "at least one site"),
        (["sites"], {"site-1": {"data": {}}}, "test scores .* wait for the run to finish"),
        (["rounds"], [{"sites": {}}], r"rounds\[0\].round: expected a round number, got nothing"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(results, keys, value, words):
    place = results["methods"]["FedMRI"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(InputError, match=words) as caught:
        validate_results(results, "results.json")
    assert str(caught.value).startswith("results.json: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Zero-filled", "FedMRI (personal)"])
def test_a_method_must_not_take_the_name_of_a_row(results, name):
    results["methods"][name] = results["methods"].pop("FedAvg")
    with pytest.raises(InputError, match="rename"):
        validate_results(results)


def test_merging_is_the_union_and_keeps_other_versions(results):
    one = {**results, "methods": {"FedMRI": results["methods"]["FedMRI"]}}
    two = {**results, "versions": {"torch": "2.8.0"}, "methods": {"FedAvg": results["methods"]["FedAvg"]}}
    merged = merge_results([one, two, one])
    assert list(merged["methods"]) == ["FedMRI", "FedAvg"]
    assert merged["methods"]["FedAvg"].pop("versions") == {"torch": "2.8.0"}
    assert merged == results and "versions" not in results["methods"]["FedAvg"]


def test_one_name_for_two_runs_is_refused(results):
    other = {**results, "methods": {"FedMRI": {**results["methods"]["FedMRI"], "seed": 8}}}
    with pytest.raises(InputError, match="FedMRI stands in two files"):
        merge_results([results, other])
    with pytest.raises(InputError, match="at least one"):
        merge_results([])


def test_summary_table_has_the_numbers_the_mean_and_the_best(results):
    lines = summary_table(results).splitlines()
    assert lines[1].split() == ["method", "site-1", "site-2", "site-10", "mean"]
    assert [line.split() for line in lines[3:]] == [
        ["Zero-filled", "24.00", "20.00", "26.00", "23.33"],
        ["FedMRI", "28.00*", "25.00", "31.00*", "28.00*"],
        ["FedAvg", "27.00", "25.50*", "29.50", "27.33"],
    ]
    assert len({line.index(".") for line in lines[3:]}) == 1  # points stand under each other


def test_summary_table_of_several_metrics_and_missing_sites(results):
    del results["methods"]["FedAvg"]["sites"]["site-10"]
    psnr, nmse = summary_table(results, "psnr", "nmse").split("\n\n")
    assert psnr.splitlines()[-1].split() == ["FedAvg", "27.00", "25.50*", "–", "26.25", "(2", "of", "3", "sites)"]
    assert nmse.startswith("NMSE, test data, lower is better")
    assert nmse.splitlines()[4].split()[1] == "0.0100*"  # lower wins
    with pytest.raises(InputError, match="expected one of psnr, ssim, nmse, got 'dice'"):
        summary_table(results, "dice")


def test_a_site_without_fully_sampled_scans_has_a_table_of_its_own(results):
    for method in results["methods"].values():
        entry = method["sites"]["site-2"]
        del entry["zero_filled"], entry["best"]
        entry["validation"] = entry["test"] = {"held_out_snr": 7.5}
    psnr, held_out = summary_table(results).split("\n\n")
    assert psnr.splitlines()[1].split() == ["method", "site-1", "site-10", "mean"]
    assert held_out.startswith("Held-out SNR (dB), test data, higher is better")
    assert held_out.splitlines()[-1].split() == ["FedAvg", "7.50", "7.50"]


def test_a_run_of_before_the_psnr_of_volumes_is_read_beside_a_new_one(results):
    for entry in results["methods"]["FedMRI"]["sites"].values():
        entry["test"]["volume_psnr"] = entry["test"]["psnr"] - 0.5
    lines = summary_table(validate_results(results, "results.json"), "volume_psnr").splitlines()
    assert lines[0].startswith("Volume PSNR (dB), test data, higher is better")
    assert [line.split()[:3] for line in lines[3:]] == [["FedMRI", "27.50", "24.50"], ["FedAvg", "–", "–"]]
    assert summary_table(results).startswith("PSNR (dB)")


def test_table_parts_sites_inside_from_sites_outside(segmentation):
    segmentation["methods"]["IOP-FL"] = {
        **segmentation["methods"]["Global"],
        "sites": {"site-1": {"test": {"dice": 0.7}}},
    }
    tables = summary_table(segmentation, "dice").split("\n\n")
    assert ["site-1" in table for table in tables] == [False, True]
    assert "Routing" in tables[0] and "IOP-FL" in tables[1] and "of 2 sites" not in "".join(tables)


def test_what_was_spent_of_privacy_stands_below_the_scores(results):
    assert "DP-SGD" not in summary_table(results)
    for site, epsilon in (("site-1", 3.14159), ("site-10", 8.0)):
        results["methods"]["FedAvg"]["sites"][site]["privacy"] = {"epsilon": epsilon, "delta": 1e-5}
    told = summary_table(results).splitlines()
    assert told[-2:] == [
        "ε spent by DP-SGD in the whole run, lower is better",
        "FedAvg: site-1 3.14 (δ 1e-05), site-10 8 (δ 1e-05)",
    ]
