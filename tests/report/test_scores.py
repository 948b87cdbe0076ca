# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from flare_mri.config.results import BASELINE, validate_results
from flare_mri.metrics.metric_table import KNOWN, METRICS, format_bytes, format_seconds
from flare_mri.report.comparable import comparison_notes, site_names, tell_phantoms
from flare_mri.report.results import summary_table
from flare_mri.report.scores import collect, curve_split, metrics_of, round_curve, tell_misses
from flare_mri.report.sections import summary
from flare_mri.report.summary import summary_sentences
from flare_mri.report.tables import site_table

PSNR = KNOWN["psnr"]
SITES = ("site-1", "site-2")


def test_sites_are_in_the_order_people_expect(results):
    assert site_names(results) == ["site-1", "site-2", "site-10"]


def test_metric_table_has_one_row_a_key_and_main_metrics_first():
    assert len(KNOWN) == len(METRICS)
    assert [metric.key for metric in METRICS][:2] == ["psnr", "dice"]
    assert {metric.key for metric in METRICS if not metric.higher_is_better} == {"nmse", "hd95", "false_slices"}


def test_best_and_ranking(results):
    scores = collect(results, PSNR)
    assert [scores.best(site) for site in scores.sites] == [{"FedMRI"}, {"FedAvg"}, {"FedMRI"}]
    assert scores.ranking() == ["FedMRI", "FedAvg", BASELINE] and scores.mean("FedMRI") == pytest.approx(28)
    lower = collect(results, KNOWN["nmse"])
    assert [lower.best(site) for site in lower.sites] == [{"FedMRI"}, {"FedAvg"}, {"FedMRI"}]


def test_equal_as_shown_is_equally_good(results):
    results["methods"]["FedAvg"]["sites"]["site-1"]["test"]["psnr"] = 28.001
    assert collect(results, PSNR).best("site-1") == {"FedMRI", "FedAvg"}


def test_where_all_are_equal_none_is_best(results):
    for method in results["methods"].values():
        for site in method["sites"].values():
            site["test"]["psnr"] = 20.0
            site.pop("zero_filled", None)
    scores = collect(results, PSNR)
    assert scores.best("site-1") == scores.best() == set()
    assert any("best at none of the three hospitals" in sentence for sentence in summary_sentences(scores))


def test_a_dice_of_nothing_is_no_success(segmentation):
    for method in segmentation["methods"].values():
        for site in method["sites"].values():
            for part in (site, site.get("personal") or {}):
                if "dice" in part.get("test", {}):
                    part["test"]["dice"] = 0.0
    assert summary_sentences(collect(segmentation, KNOWN["dice"])) == [
        "No method found the organ: the mean Dice of all is 0.000."
    ]


def personalised(results, scores: dict[str, tuple[dict, dict]]):
    """The results as those of one method alone, with the test scores of a site's global and personal models."""
    method = {**results["methods"]["FedMRI"], "rounds": []}
    method["sites"] = {site: {"test": one, "personal": {"test": two}} for site, (one, two) in scores.items()}
    return {**results, "methods": {"IOP-FL": method}}


NOTHING = {"dice": 0.0, "hd95": 257.7, "false_slices": 0.0}
FOUND = {"dice": 0.8, "hd95": 5.0, "false_slices": 0.5}


def test_a_methods_own_rows_are_no_rivals(results):
    alone = personalised(results, {"site-1": (NOTHING, FOUND), "site-2": (NOTHING, FOUND)})
    scores = collect(alone, KNOWN["dice"])
    first, *others = summary_sentences(scores)
    assert first == "At two hospitals, IOP-FL (personal) gave outlines with a mean Dice of 0.800."
    assert not any("best" in sentence for sentence in others)
    assert scores.best() == scores.best("site-1") == collect(alone, KNOWN["false_slices"]).best() == set()
    alone["methods"]["Local"] = {**alone["methods"]["IOP-FL"], "sites": {s: {"test": {"dice": 0.7}} for s in SITES}}
    assert "0.100 better than the next best method, Local." in summary_sentences(collect(alone, KNOWN["dice"]))[0]


def test_a_model_that_misses_the_organ_is_told_and_best_at_nothing(results):
    found = personalised(results, {"site-1": (NOTHING, FOUND)})
    found["methods"]["Local"] = {**found["methods"]["IOP-FL"], "sites": {"site-1": {"test": {**FOUND, "hd95": 9.0}}}}
    assert collect(found, KNOWN["false_slices"]).best("site-1") == set(), "0.000 is of a model that marks nothing"
    assert collect(found, KNOWN["hd95"]).best("site-1") == {"IOP-FL (personal)"}
    first, second = tell_misses(found)
    assert first == "IOP-FL misses the organ at site-1: its mean Dice is below 0.05 there."
    assert "HD95 the diagonal of the whole volume" in second and first in summary_table(found)
    cells = dict(site_table(found, [KNOWN["dice"], KNOWN["hd95"]], "site-1").rows)
    assert [cell.below for cell in cells["IOP-FL"]] == ["misses the organ", ""] and not cells["Local"][0].below
    assert tell_misses(results) == []


def test_a_single_method_is_best_of_nothing(results):
    del results["methods"]["FedAvg"]
    scores = collect(results, PSNR)
    assert BASELINE in scores.values and scores.best() == scores.best("site-1") == set()
    assert "best" not in summary_table(results)


def test_runs_of_other_numbers_of_rounds_have_no_best(results):
    results["methods"]["FedAvg"]["rounds"] = results["methods"]["FedAvg"]["rounds"][:1]
    scores, why = collect(results, PSNR), "different numbers of rounds (1 to 3), so none is named best"
    assert scores.best() == scores.best("site-1") == set() and "best" not in summary_table(results).split("\n\n")[0]
    assert len(summary_sentences(scores)) == 1 and why in summary_sentences(scores)[0]
    assert any(why in note for note in comparison_notes(results))
    found = summary(results, scores)
    assert why in found["leads"][0] and not found["notes"] and not any("Best" in name for name, _ in found["tiles"])


def test_phantoms_are_told(results):
    assert tell_phantoms(results) == "" and "phantom" not in summary_table(results)
    for method in results["methods"].values():
        method["sites"]["site-1"]["phantom"] = True
    assert tell_phantoms(validate_results(results)) == "1 of 3 sites is a phantom"
    assert summary_table(results).startswith("PSNR (dB), test data (1 of 3 sites is a phantom), higher is better")
    leads = summary(results, collect(results, PSNR))["leads"]
    assert leads[0] == "1 of 3 sites is a phantom: simulated data, of no patient."


def test_a_method_of_fewer_sites_is_not_ranked_by_its_mean(results):
    sites = results["methods"]["FedAvg"]["sites"]
    results["methods"]["FedAvg"]["sites"] = {"site-10": sites["site-10"]}
    scores = collect(results, PSNR)
    assert scores.ranking() == ["FedMRI", BASELINE] and scores.best() == {"FedMRI"}


def test_a_site_that_went_away_has_no_value(results):
    del results["methods"]["FedMRI"]["sites"]["site-1"]["test"]
    scores = collect(results, PSNR)
    assert scores.get("FedMRI", "site-1") is None and scores.coverage("FedMRI") == 2


def test_personal_models_are_a_row_of_their_own(results):
    results["methods"]["FedAvg"]["sites"]["site-1"]["personal"] = {"test": {"psnr": 33.0}}
    scores = collect(results, PSNR)
    assert scores.methods == ["FedMRI", "FedAvg", "FedAvg (personal)"]
    assert scores.get("FedAvg (personal)", "site-1") == 33.0 and scores.get("FedAvg", "site-1") == 27.0


def test_curves_are_of_validation_unless_every_method_scored_test_slices(results):
    assert curve_split(results) == "validation"
    method = results["methods"]["FedMRI"]
    assert round_curve(method, PSNR, "site-1", "validation") == ([0, 1, 2], [26.0, 27.0, 28.0])
    for row in method["rounds"]:
        for site in row["sites"].values():
            site["test"] = site["validation"]
    assert curve_split(results) == "validation"
    results["methods"].pop("FedAvg")
    assert curve_split(results) == "test"


def test_a_round_without_one_site_is_not_in_the_mean(results):
    method = results["methods"]["FedMRI"]
    del method["rounds"][1]["sites"]["site-2"]
    assert round_curve(method, PSNR, None, "validation") == ([0, 2], [26.0, 28.0])


def test_notes_say_what_is_not_comparable(results):
    assert comparison_notes(results) == []
    results["methods"]["FedAvg"]["seed"] = 8
    results["methods"]["FedAvg"]["rounds"].pop()
    results["methods"]["FedAvg"]["sites"]["site-2"]["zero_filled"]["psnr"] = 21.0
    notes = " ".join(comparison_notes(results))
    assert "same data at site-2" in notes and "seeds" in notes and "2 to 3" in notes and "site-1" not in notes


def test_classical_reconstructions_are_rows_and_no_methods(results):
    for site, value in (("site-1", 27.0), ("site-2", 99.0)):
        results["methods"]["FedAvg"]["sites"][site]["l1_espirit"] = {"psnr": value}
    scores = collect(results, PSNR)
    assert list(scores.values) == ["Zero-filled", "l1-ESPIRiT", "FedMRI", "FedAvg"]
    assert scores.methods == ["FedMRI", "FedAvg"] and scores.ranking() == ["FedMRI", "FedAvg", BASELINE]
    assert scores.best("site-2") == {"l1-ESPIRiT"}
    told = summary_sentences(scores)
    assert "At site-2 l1-ESPIRiT, which learns nothing, was better than FedMRI." in told and not any(
        "CG" in line for line in told
    )


def test_the_headline_names_the_best_of_all_rows(results):
    for site, value in (("site-1", 27.5), ("site-2", 29.0), ("site-10", 30.5)):
        results["methods"]["FedAvg"]["sites"][site]["l1_espirit"] = {"psnr": value}
    first, *others = summary_sentences(collect(results, PSNR))
    assert first == (
        "Over three hospitals, l1-ESPIRiT, which learns nothing, gave the images closest to the fully sampled scans: a "
        "mean PSNR of 29.00 dB, 5.67 dB better than the undersampled images without a network (zero-filled) and 1.00 "
        "dB better than the next best method, FedMRI."
    )
    assert others[1] == (
        "The best of the trained methods is FedMRI, with a mean of 28.00 dB; it was better than l1-ESPIRiT at site-1, "
        "site-10."
    )
    for method in results["methods"].values():
        for entry in method["sites"].values():
            entry["zero_filled"] = {"psnr": 40.0}
    first, *others = summary_sentences(collect(results, PSNR))
    assert first.startswith("Over three hospitals, Zero-filled, which learns nothing, gave") and "without" not in first
    assert "FedMRI, with a mean of 28.00 dB; it was better than Zero-filled at no hospital." in others[1]


def test_summary_says_the_winner_the_gains_and_where(results):
    first, *others = summary_sentences(collect(results, PSNR))
    assert first == (
        "Over three hospitals, FedMRI gave the images closest to the fully sampled scans: a mean PSNR of 28.00 dB, "
        "4.67 dB better than the undersampled images without a network (zero-filled) and 0.67 dB better than the "
        "next best method, FedAvg."
    )
    assert others[0] == "FedMRI was the best at 2 of the three hospitals."


def test_summary_owns_up_to_a_tie_and_to_harm(results):
    for site, entry in results["methods"]["FedAvg"]["sites"].items():
        entry["test"]["psnr"] = results["methods"]["FedMRI"]["sites"][site]["test"]["psnr"] - 0.05
    assert "FedAvg, is practically level (27.95 dB)" in summary_sentences(collect(results, PSNR))[0]
    for method in results["methods"].values():
        method["sites"]["site-2"]["test"]["psnr"] = 19.9
    assert "At site-2 it was worse than the image without a network." in summary_sentences(collect(results, PSNR))


def test_segmentation_uses_the_same_code(segmentation):
    dice, hd95 = metrics_of(segmentation)
    assert "At one hospital, Routing gave the outlines" in summary_sentences(collect(segmentation, dice))[0]
    scores = collect(segmentation, hd95)
    assert BASELINE not in scores.values and scores.get("Global", "outside") is None and scores.best("outside") == set()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (18.9e6, "18.9 MB"), (999_700, "1.0 MB"), (5e12, "5000 GB")]
)
def test_bytes(value, text):
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.416, "0.42 s"), (12.34, "12.3 s"), (59.97, "1 min 00 s"), (252, "4 min 12 s"), (11100, "3 h 05 min")],
)
def test_seconds(value, text):
    assert format_seconds(value) == text


def test_differences_have_sign_and_unit():
    assert PSNR.difference(28.0, 24.0) == "+4.00 dB" and PSNR.difference(20.0, 24.0) == "−4.00 dB"
    assert PSNR.difference(24.001, 24.0) == PSNR.difference(23.999, 24.0) == "0.00 dB"
    assert PSNR.difference(None, 24.0) == "–" and KNOWN["hd95"].quantity(2.0) == "2.0 mm"


def test_sites_inside_and_outside_are_groups_of_their_own(results):
    scores = collect(results, metrics_of(results)[0])
    assert [group.values for group in scores.groups()] == [scores.values]
    outside = {"outside-1": {"test": {"psnr": 20.0}}}
    results["methods"]["routing"] = {**results["methods"]["FedMRI"], "sites": outside, "rounds": []}
    inside, other = collect(results, metrics_of(results)[0]).groups()
    assert inside == scores and other.sites == ["outside-1"] and list(other.values) == ["routing"]
    results["methods"]["FedMRI"]["sites"]["outside-1"] = outside["outside-1"]
    assert len(collect(results, metrics_of(results)[0]).groups()) == 1, "one method at all sites joins them"


def test_summary_names_few_sites_of_many(segmentation):
    scores = collect(segmentation, metrics_of(segmentation)[0])
    assert summary_sentences(scores)[0].startswith("At one hospital, Routing gave")
    assert summary_sentences(scores, name_sites=True)[0].startswith("At outside, Routing gave")
