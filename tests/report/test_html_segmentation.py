# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A run's page of segmentation: organs, outlines, inside and outside, personal models."""

import re

import numpy as np
import pytest

from flare_mri.errors import InputError
from flare_mri.report.panels import frame
from report_page import make


def test_segmentation_report(segmentation, tmp_path, examples):
    for job in ("global", "routing"):
        examples(tmp_path / "store" / job / "outside" / "examples.npz", labels=True)
    _, page = make(segmentation, tmp_path / "store", tmp_path)
    assert ["Method", "Dice", "HD95 (mm)"] in page.rows
    assert ["Routing", "★ best0.888", "2.5"] in page.rows and ["Global", "0.810", "–"] in page.rows
    assert ["down.0", "0.250", "0.500"] in page.rows
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    assert len(alts) == 2 * 4 and any("Outlines of the expert and of Routing" in alt for alt in alts)
    for words in ("Routing: nothing collapsed", "entropy 0.500 before", "dashed blue", "Which hospitals' models"):
        assert words in page.text
    assert "PSNR" not in page.text and "zero-filled" not in page.text.lower()


def test_several_organs_have_their_scores_and_colours(segmentation, tmp_path, examples):
    named = {"organs": np.array(["liver", "spleen"]), "colours": np.array(["#12ab34", ""])}
    for method in segmentation["methods"].values():
        method["sites"]["outside"]["test"] |= {"dice.liver": 0.9125, "dice.spleen": 0.7034, "hd95.liver": 3.25}
        examples(tmp_path / "store" / method["job"] / "outside" / "examples.npz", labels=True, **named)
    html, page = make(segmentation, tmp_path / "store", tmp_path)
    assert ["Method", "Dice", "HD95 (mm)", "Dice liver", "Dice spleen", "HD95 liver (mm)"] in page.rows
    assert "expert solid, network dashed" in page.text and "solid yellow" not in page.text
    assert re.search("#12ab34[^<]*></span>1 liver", html) and re.search("#27d3ff[^<]*></span>2 spleen", html)
    named["colours"] = np.array(["red", ""])
    examples(tmp_path / "store" / "routing" / "outside" / "examples.npz", labels=True, **named)
    with pytest.raises(InputError, match="colours: expected one such as #ffd60a for each organ"):
        make(segmentation, tmp_path / "store", tmp_path)


def test_inside_and_outside_are_two_tables(segmentation, tmp_path):
    trained = {**segmentation["methods"]["Global"], "job": "train", "seconds": 10.0}
    trained["sites"] = {"site-1": {"test": {"dice": 0.7}, "personal": {"test": {"dice": 0.8}}}}
    segmentation["methods"]["Routing"]["sites"]["outside"]["movement"] = 0.0625
    for method in segmentation["methods"].values():
        method["job"] = "route"
    segmentation["methods"] = {"IOP-FL": trained, **segmentation["methods"]}
    _, page = make(segmentation, None, tmp_path)
    assert ["Method", "site-1"] in page.rows and ["Method", "outside"] in page.rows
    assert ["IOP-FL (personal)", "0.800"] in page.rows and ["Routing", "★ best0.888"] in page.rows
    for words in ("At site-1, IOP-FL (personal) gave", "At outside, Routing gave", "moved a routing weight by 0.062"):
        assert words in page.text
    assert "the one global model of all sites" in page.text, "what the bare name of a method means"
    assert "Computing time in all1 min 11 s" in page.text, "the job of two rows counts once"


def test_images_bear_the_name_of_the_model_that_made_them(segmentation, tmp_path, examples):
    examples(tmp_path / "store" / "global" / "outside" / "examples.npz", labels=True)
    segmentation["methods"]["Global"]["sites"]["outside"]["personal"] = {"test": {"dice": 0.9}}
    _, page = make(segmentation, tmp_path / "store", tmp_path)
    assert any("of Global (personal): volume" in attrs["alt"] for attrs in page.attributes("img"))


def test_the_enlarged_part_holds_whatever_was_outlined():
    truth, stray = np.zeros((60, 80)), np.zeros((60, 80))
    truth[20:30, 30:40] = 1
    rows, columns = frame(truth, [truth])
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 20)
    assert rows.start <= 20 and rows.stop >= 30 and columns.start <= 30 and columns.stop >= 40
    stray[2, 78] = 1
    rows, columns = frame(truth, [truth, stray])
    assert rows.start <= 2 and rows.stop >= 30 and columns.start <= 30 and columns.stop > 78
    assert frame(0 * truth, [0 * truth]) == (slice(None), slice(None))


def test_personal_models_have_rows_and_curves(segmentation, tmp_path):
    method = segmentation["methods"]["Global"]
    method["sites"]["outside"]["personal"] = {"test": {"dice": 0.9}}
    scores = {"validation": {"dice": 0.7}, "personal_validation": {"dice": 0.85}}
    method["rounds"] = [{"round": 0, "sites": {"outside": scores}}]
    _, page = make(segmentation, None, tmp_path)
    assert ["Global (personal)", "★ best0.900"] in page.rows and ["Global (personal)", "★ best0.900", "–"] in page.rows
    labels = " ".join(attrs.get("aria-label") or "" for attrs in page.attributes("svg"))
    assert "Global 0.700; Global (personal) 0.850" in labels
