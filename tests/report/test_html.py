# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A run's page of reconstruction, and what holds for every page."""

import base64
import copy
import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from flare_mri.errors import InputError
from flare_mri.metrics.volume_scores import SCORES_FILE, scores_text
from flare_mri.report.html import write_report
from report_page import Page, make

INSIDE = ("#", "data:image/png;base64,", "data:text/csv;base64,", "data:application/json;base64,")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, shared_results, shared_stores):
    """The report of the unchanged results and all stores."""
    return make(shared_results, shared_stores, tmp_path_factory.mktemp("whole"))


def test_reconstruction_report_is_whole_and_self_contained(whole):
    text, page = whole
    # a page asks others for things by these attributes, tags and style rules only
    assert not page.tags.keys() & {"script", "link", "iframe", "object", "base", "form"}
    for _, attrs in page.found:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attrs.get(name) or "#").startswith(INSIDE)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.attributes("a") if attrs["href"].startswith("#")} <= set(ids)


def test_reconstruction_report_is_accessible(whole):
    _, page = whole
    # 3 sites x 2 slices x (input, 2 methods: image and error map; target)
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    assert len(alts) == len(set(alts)) == 3 * 2 * (3 * 2 + 1)
    assert any("Error map of FedMRI: volume 1, slice 6 of site-1, mean absolute error" in alt for alt in alts)
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.attributes("th"))
    assert page.tags["caption"] == page.tags["table"]
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for attrs in page.attributes("svg"))
    assert page.attributes("html")[0]["lang"] == "en" and page.tags["h1"] == 1


def test_reconstruction_report_says_the_numbers(whole):
    _, page = whole
    assert ["FedMRI", "★ best28.00+4.00 dB", "25.00+5.00 dB", "★ best31.00+5.00 dB", "★ best28.00+4.67 dB"] in page.rows
    assert ["Zero-filled", "24.00", "20.00", "26.00", "23.33"] in page.rows
    assert ["Method", "PSNR (dB)", "To zero-filled (dB)", "SSIM", "NMSE", "Kept model: PSNR (dB)"] in page.rows
    assert ["FedAvg", "★ best25.50", "+5.50", "★ best0.637", "★ best0.0178", "25.75round 2"] in page.rows
    runs = next(row for row in page.rows if row[0] == "FedMRI" and "fedmri" in row)
    assert runs[:3] == ["FedMRI", "UNet", "l1"]
    assert runs[3:] == ["fedmri", "2026-03-02 10:11 UTC", "7", "3", "1 min 01 s", "2.0 s", "2.0 MB", "4.0 MB"]
    for row in (
        ["network.args.channels", "8"],
        ["resume", "not set"],
        ["on", "yes"],
        ["torch", "2.9.0"],
        ["test", "4"],
    ):
        assert row in page.rows
    assert "FedMRI gave the images closest" in page.text
    assert "local site stores" in page.text and "were not sent" in page.text
    assert "validation slices after every round" in page.text and "≥" in page.text
    assert page.text.count("How alike the sites look") == 1


def test_what_was_spent_of_a_sites_privacy_is_told(results, tmp_path):
    results["methods"]["FedMRI"]["sites"]["site-2"]["privacy"] = {"epsilon": 7.912, "delta": 1e-5}
    page = Page(write_report(results, {}, tmp_path / "report.html").read_text())
    assert ["Method", "site-2"] in page.rows and ["FedMRI", "7.91δ 1e-05"] in page.rows
    assert "ε spent by DP-SGD in the whole run" in page.text


def test_without_stores_there_are_numbers_and_no_images(results, tmp_path):
    _, page = make(results, None, tmp_path)
    assert page.tags["img"] == 0 and "holds no images" in page.text and "How alike" not in page.text


def test_methods_of_one_run_share_their_settings(results, tmp_path):
    method = next(iter(results["methods"].values()))
    results["methods"] = {"global model": method, "IOP-FL routing": copy.deepcopy(method)}
    _, page = make(results, None, tmp_path)
    assert page.text.count("settings, versions, rounds") == 1
    assert "global model, IOP-FL routing: settings, versions, rounds" in page.text
    results["methods"]["IOP-FL routing"]["settings"]["lr"] = 0.5
    _, page = make(results, None, tmp_path)
    assert page.text.count("settings, versions, rounds") == 2


def test_a_hospital_reports_with_its_own_store_only(results, stores, tmp_path):
    _, page = make(results, stores / "site-2", tmp_path)
    assert page.tags["img"] == 2 * 7 and page.text.count("which was not given") == 2 and "How alike" not in page.text


def test_one_scale_for_all_error_maps(results, stores, tmp_path, examples):
    rng = np.random.default_rng(0)
    target = (100 * rng.random((2, 24, 20))).astype("f4")
    path = stores / "site-2" / "site_store" / "fedmri" / "site-2" / "examples.npz"
    examples(path, target=target, output=target + 40, input=target)
    _, page = make(results, stores, tmp_path)
    bars = [
        attrs["aria-label"] for attrs in page.attributes("svg") if "Colour scale" in (attrs.get("aria-label") or "")
    ]
    assert bars == ["Colour scale of all error maps, from 0 (black) to 50 % of the slice's brightest value (yellow)"]


def test_a_site_without_fully_sampled_scans_shows_no_errors(results, stores, tmp_path, examples):
    for name in ("FedMRI", "FedAvg"):
        entry = results["methods"][name]["sites"]["site-2"]
        del entry["zero_filled"], entry["best"]
        entry["validation"] = entry["test"] = {"held_out_snr": 7.5}
        path = stores / "site-2" / "site_store" / name.lower() / "site-2" / "examples.npz"
        arrays = dict(np.load(path))
        del arrays["target"]
        np.savez(path, **arrays)
    _, page = make(results, stores / "site-2", tmp_path)
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    assert len(alts) == 2 * 3 and not any("Error map" in alt or "target" in alt for alt in alts)
    assert ["Method", "site-2"] in page.rows and ["FedMRI", "7.50"] in page.rows


def test_methods_that_stored_other_slices_say_so(results, stores, tmp_path, examples):
    examples(stores / "site-1" / "site_store" / "fedavg" / "site-1" / "examples.npz", slice=np.array([6, 7]))
    _, page = make(results, stores, tmp_path)
    assert page.text.count("This method stored other slices.") == 2


def test_worse_slices_come_before_better_ones(results, stores, tmp_path, examples):
    for name, psnr in (("FedMRI", [31.25, 22.5]), ("FedAvg", [20.0, 30.0])):
        ranks = {"score": np.array(psnr), "rank": np.argsort(np.argsort(psnr)) + 1, "ranked": np.array([2, 2])}
        path = stores / "site-2" / "site_store" / name.lower() / "site-2" / "examples.npz"
        examples(path, **ranks)
    html, page = make(results, stores / "site-2", tmp_path)
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    assert len(alts) == len(set(alts)) == 2 * 2 * 3 + 2 * 7, "worst and best of two methods, two slices by all"
    worst = [alt for alt in alts if alt.startswith("worst slice of ")]
    assert alts[: len(worst)] == worst and len(worst) == 6
    assert worst[0] == "worst slice of FedMRI at site-2: volume 4, slice 10, PSNR 22.50 dB"
    assert "error map, mean error" in worst[1] and "fully sampled target" in worst[2]
    assert worst[3] == "worst slice of FedAvg at site-2: volume 1, slice 6, PSNR 20.00 dB"
    assert html.index("The worst test slice") < html.index("The best test slice") < html.index("by all methods")
    by_all = alts[12:]
    assert by_all[0] == "Input: volume 1, slice 6 of site-2"
    assert "volume 4, slice 10" in by_all[7], "25.6 before 26.9 dB"


def keep_scores(folder, **rows):
    """Scores of volumes in a site's store, by rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {row: {f"{n:016x}": {"psnr": value} for n, value in enumerate(values)} for row, values in rows.items()}
    (folder / SCORES_FILE).write_text(scores_text(named))


def test_single_volumes_scores_come_from_the_sites_own_file(results, stores, tmp_path):
    """Of the run whose means are those of the results; what learns nothing stands in a file beside the runs'."""
    sites = results["methods"]["FedMRI"]["sites"]
    folder = stores / "site-2" / "site_store" / "fedmri" / "site-2"
    keep_scores(folder / "run-1", **{"FedMRI": [99.0, 98.0]})
    mean, best = sites["site-2"]["test"]["psnr"], sites["site-2"]["best"]["test"]["psnr"]
    keep_scores(folder / "run-2", **{"FedMRI": [mean - 5, mean - 1, mean + 6], "FedMRI (best)": [best, best]})
    base = sites["site-2"]["zero_filled"]["psnr"]
    keep_scores(folder, **{"Zero-filled": [base - 1, base + 1], "CG-SENSE": [7.0]})
    _, page = make(results, stores / "site-2", tmp_path)
    numbers = [f"{mean + shift:.2f}" for shift in (-5, -1, 6)]
    assert ["FedMRI", "3", f"{mean:.2f}", "5.57", *numbers] in page.rows
    assert ["FedMRI (best)", "2", f"{best:.2f}", "0.00", *3 * [f"{best:.2f}"]] in page.rows
    assert ["Zero-filled", "2", f"{base:.2f}", "1.41", f"{base - 1:.2f}", f"{base:.2f}", f"{base + 1:.2f}"] in page.rows
    assert "99.00" not in page.text and not any(row[:2] == ["CG-SENSE", "1"] for row in page.rows)


def test_classical_images_stand_beside_the_networks(results, stores, tmp_path, examples):
    for site in results["methods"]["FedAvg"]["sites"]:
        results["methods"]["FedAvg"]["sites"][site]["l1_espirit"] = {"psnr": 24.0}
        path = stores / site / "site_store" / "fedavg" / site / "examples-l1_espirit.npz"
        examples(path, method=np.array("l1-ESPIRiT"))
    _, page = make(results, stores, tmp_path)
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    shown = [alt.split(":")[0] for alt in alts if alt.endswith("volume 1, slice 6 of site-1")]
    assert shown == ["Input", "l1-ESPIRiT", "FedMRI", "FedAvg", "Fully sampled target"]
    assert sum("Error map of l1-ESPIRiT" in alt for alt in alts) == 2 * 3


def test_numbers_can_be_taken_along(results, stores, tmp_path):
    mean = results["methods"]["FedAvg"]["sites"]["site-2"]["test"]["psnr"]
    keep_scores(stores / "site-2" / "site_store" / "fedavg" / "site-2" / "run", FedAvg=[mean - 1.5, mean + 1.5])
    results["methods"]["=1+1"] = {**copy.deepcopy(results["methods"]["FedAvg"]), "job": "other"}
    _, page = make(results, stores, tmp_path)
    files = {attrs["download"]: attrs["href"] for attrs in page.attributes("a") if "download" in attrs}
    content = {name: base64.b64decode(href.split(",")[1]).decode("utf-8-sig") for name, href in files.items()}
    rows = json.loads(content["scores.json"])
    one = {"method": "FedMRI", "site": "site-2", "split": "test", "metric": "psnr", "unit": "dB"}
    assert {**one, "model": "final", "value": 25.0} in rows
    assert {**one, "model": "best on validation", "value": 25.25} in rows
    assert {**one, "method": "Zero-filled", "model": "none", "value": 20.0} in rows
    assert {**one, "method": "FedAvg", "model": "final", "split": "test volume 1", "value": mean - 1.5} in rows
    table = list(csv.DictReader(io.StringIO(content["scores.csv"])))
    assert [float(row["value"]) for row in table] == [row["value"] for row in rows]
    assert {row["method"] for row in table} == {"FedMRI", "FedAvg", "'=1+1", "Zero-filled"}, "no spreadsheet computes"


def test_whatever_stands_in_files_is_text_not_html(results, tmp_path, examples):
    evil = "<script>alert('x')</script>&\""
    hostile = copy.deepcopy(results)
    method = hostile["methods"].pop("FedMRI")
    method |= {"created": evil, "settings": {evil: evil}, "versions": {evil: evil}}
    method["sites"][evil] = {**method["sites"].pop("site-1"), "note": evil, "data": {evil: evil}}
    hostile["methods"][evil] = method
    path = examples(tmp_path / "examples.npz")
    report = write_report(hostile, {evil: {evil: path}}, tmp_path / "report.html")
    text = report.read_text()
    page = Page(text)
    assert "<script" not in text and page.tags["script"] == 0
    assert page.text.count(evil) >= 8
    assert any(evil in (attrs["alt"] or "") for attrs in page.attributes("img"))


def test_words_in_place_of_a_slices_number_are_refused(results, tmp_path, examples):
    path = examples(tmp_path / "examples.npz", volume=np.array(["<script>", "0"]))
    with pytest.raises(InputError, match="volume: expected whole numbers, got <U8"):
        write_report(results, {"FedMRI": {"site-1": path}}, tmp_path / "report.html")


def test_two_tasks_do_not_make_one_report(results, segmentation, tmp_path):
    results["methods"] |= segmentation["methods"]
    with pytest.raises(InputError, match="FedMRI for reconstruction, Global for segmentation"):
        write_report(results, {}, tmp_path / "report.html")


def test_a_store_of_another_run_is_refused(results, tmp_path, examples):
    path = examples(tmp_path / "examples.npz")
    for method, site in (("FedProx", "site-1"), ("FedMRI", "site-9")):
        with pytest.raises(InputError, match=f"site {site} of method {method}"):
            write_report(results, {method: {site: path}}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("labels", [False, True])
def test_pictures_stand_upright_in_square_pixels(segmentation, results, stores, tmp_path, examples, labels):
    """Of 24x20 pixels of 1 x 1.5 mm whose rows run to the patient's left: 30 wide before, 24 wide and 30 high now."""
    data, site, job = (segmentation, "outside", "routing") if labels else (results, "site-1", "fedmri")
    store = tmp_path / "own" / job / site
    image = np.zeros((2, 24, 20), "f4")
    image[:, :6, :5] = 1  # the patient's right, front
    arrays = {"input": image, "output": image, "target": image, "axcodes": np.array(["LPS"] * 2)}
    examples(store / "examples.npz", labels, **arrays, spacing=np.array([[1, 1.5]] * 2))
    _, page = make(data, tmp_path / "own", tmp_path)
    shown = [attrs["src"].partition(",")[2] for attrs in page.attributes("img")]
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[0]))).convert("L"))
    assert first.shape == (30, 24)
    assert first[:6, :5].min() > 200 and first[20:].max() < 50 and first[:, 15:].max() < 50


def test_a_page_is_for_its_owner_alone_and_says_that_it_shows_patients(whole, results, tmp_path):
    assert "This page shows patients" in " ".join(whole[1].text.split())
    _, page = make(results, None, tmp_path)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600
    assert "shows patients" not in page.text and "holds no images" in page.text
