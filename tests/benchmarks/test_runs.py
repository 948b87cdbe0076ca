# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A benchmark of hours must be continued, not begun again."""

import os
from pathlib import Path
from typing import Any

import hippocampus_segmentation
import pytest
import segmentation_tables
from runs import name_with

from flare_mri.flare.recipes.simulate import results_path
from flare_mri.report.results import save_results
from flare_mri.routing.space import SPACE_FILE


def scores(dice: float) -> dict[str, float]:
    return {"slice_dice": dice, "dice": dice - 0.1, "hd95": 10 * dice, "false_slices": 0.0}


def leave(
    workspace: Path, job: str, methods: dict[str, dict[str, Any]], rounds: int, seconds: int, channels: int = 32
) -> Path:
    """A results.json as a finished job leaves it, `seconds` after the epoch."""
    entry = {"job": job, "created": "2026-11-22", "seed": 0, "seconds": 1.0}
    entry["settings"] = {"network": {"args": {"channels": channels}}}
    entry["rounds"] = [{"round": r, "sites": {}} for r in range(rounds)]
    results = {"format_version": 1, "versions": {}, "methods": {m: {**entry, "sites": s} for m, s in methods.items()}}
    path = save_results(results, results_path(workspace, job))
    os.utime(path, (seconds, seconds))
    return path


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    inside = {site: {"test": scores(d), "personal": {"test": scores(d + 0.1)}} for site, d in (("a", 0.6), ("b", 0.8))}
    path = leave(tmp_path, "hippocampus-all-0-iop-fl", {"IOP-FL": inside}, 15, 1000)
    (path.parent / SPACE_FILE).touch()
    values = {"personal model of a": 0.5, "personal model of b": 0.7, "global model": 0.65, "IOP-FL routing": 0.75}
    methods = {name: {"outside-1": {"test": scores(value)}} for name, value in values.items()}
    leave(tmp_path, "hippocampus-all-0-at-outside-1-published", methods, 0, 2000)
    matched = {
        "global model": {"outside-1": {"test": scores(0.65)}},
        "matched mix": {"outside-1": {"test": scores(0.8)}},
    }
    leave(tmp_path, "hippocampus-all-0-at-outside-1-matched", matched, 0, 2000)
    leave(tmp_path, "hippocampus-all-0-fedbn", {"FedBN": {site: {"test": scores(0.75)} for site in "ab"}}, 15, 1000)
    return tmp_path


def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the jobs that would run; the first one ends the benchmark."""
    names: list[str] = []

    def run(job: Path, name: str, arguments: list[str], workspace: Path, log: Path) -> Path:
        names.append(name)
        raise SystemExit(name)

    monkeypatch.setattr(hippocampus_segmentation, "run_and_follow", run)
    monkeypatch.setattr("runs.run_and_follow", run)
    return names


def test_complete_runs_are_read_not_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = started(monkeypatch)
    arguments = ["--seeds", "0", "--methods", "IOP-FL", "FedBN", "--outside", "outside-1", "--workspace", str(finished)]
    hippocampus_segmentation.collect(arguments)
    assert names == []
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["FedAvg", "=", "IOP-FL,", "global", "model", "0.81", "0.700", "0.600", "7.00", "0.000"] in rows
    assert ["IOP-FL,", "personal", "models", "0.882", "0.800", "0.700", "8.00", "0.000"] in rows
    assert ["FedBN", "0.750", "0.650", "7.50", "0.000"] in rows
    assert ["a", "personal", "model", "(mean)", "0.600", "0.500", "6.00", "0.000"] in rows
    assert ["the", "best", "personal", "model", "0.700", "0.600", "7.00", "0.000"] in rows
    assert ["IOP-FL", "routing", "0.888", "0.750", "0.650", "7.50", "0.000"] in rows
    assert ["matched", "mix", "0.800", "0.700", "8.00", "0.000"] in rows


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["--seeds", "0", "--num_rounds", "16"], "hippocampus-all-0-iop-fl"),
        (["--seeds", "0", "--channels", "16"], "hippocampus-all-0-iop-fl"),
        (["--seeds", "0", "--outside", "outside-1"], "hippocampus-all-0-local-only"),
        (["--seeds", "0"], "hippocampus-all-0-at-outside-3-published"),
        (["--seeds", "0", "--slices", "labelled", "--loss", "dice_ce"], "hippocampus-labelled-0-loss-dice-ce-iop-fl"),
        (["--seeds", "0", "--leave_out", "site-3"], "hippocampus-all-without-site-3-0-iop-fl"),
        (["--seeds", "1"], "hippocampus-all-1-iop-fl"),
        (["--seeds", "0", "--epochs", "0"], "hippocampus-all-0-at-outside-1-published-0-epochs"),
    ],
)
def test_what_is_missing_or_of_other_settings_is_run(
    arguments: list[str], first: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = started(monkeypatch)
    with pytest.raises(SystemExit):
        hippocampus_segmentation.collect([*arguments, "--workspace", str(finished)])
    assert names == [first]


def test_routing_older_than_its_training_is_run_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = started(monkeypatch)
    os.utime(results_path(finished, "hippocampus-all-0-iop-fl"), (3000, 3000))
    with pytest.raises(SystemExit):
        hippocampus_segmentation.collect(["--seeds", "0", "--workspace", str(finished)])
    assert names == ["hippocampus-all-0-at-outside-1-published"]


def test_further_options_make_another_run() -> None:
    assert name_with("raw-fedmri-0", []) == "raw-fedmri-0"
    assert name_with("raw-fedmri-0", ["--lr", "1e-3", "--network_args", '{"output": "rss"}']) == (
        "raw-fedmri-0-lr-1e-3-network-args-output-rss"
    )


@pytest.fixture
def left_out(tmp_path: Path) -> Path:
    """The runs of a table, each site a little better than the one before."""
    more = "augmentation-loss-dice-ce-lr-schedule-cosine-lr-gamma-0.05"
    inside = {"IOP-FL": {"a": {"test": scores(0.6), "personal": {"test": scores(0.7)}}}}
    places = [("", "outside-1"), ("", "outside-3"), *((f"-without-site-{n}", f"site-{n}") for n in range(1, 6))]
    for number, (without, site) in enumerate(places):
        trained = leave(tmp_path, f"hippocampus-all{without}-0-{more}-iop-fl", inside, 15, 1000, 16)
        (trained.parent / SPACE_FILE).touch()
        rows = {"matched": ["personal model of a", "matched mix"], "published-0-epochs": ["routing before adaptation"]}
        for strategy, names in rows.items():
            methods = {name: {site: {"test": scores(0.5 + 0.02 * number)}} for name in names}
            leave(tmp_path, f"hippocampus-all{without}-0-{more}-at-{site}-{strategy}", methods, 0, 2000)
    return tmp_path


def test_a_table_is_one_command_that_is_continued(
    left_out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = started(monkeypatch)
    segmentation_tables.main(["left_out", "--seeds", "0", "--workspace", str(left_out)])
    told = capsys.readouterr().out
    assert names == [] and "site-5, without site-5" in told
    mean = [line.split() for line in told[told.index("mean of outside-1") :].splitlines()]
    assert ["matched", "mix", "0.560", "0.460", "5.60", "0.000"] in mean
    assert ["routing", "before", "adaptation", "0.560", "0.460", "5.60", "0.000"] in mean
    with pytest.raises(SystemExit):
        segmentation_tables.main(["left_out", "--workspace", str(left_out)])
    assert names == ["hippocampus-all-1-augmentation-loss-dice-ce-lr-schedule-cosine-lr-gamma-0.05-iop-fl"]
