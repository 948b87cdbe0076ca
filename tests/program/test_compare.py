# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Several runs in one table: rows by method and settings, seeds, and a paired test by scores that hospitals keep."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from flare_mri.errors import InputError
from flare_mri.metrics.volume_scores import SCORES_FILE, pseudonym, scores_text
from flare_mri.program.main import main
from flare_mri.report.comparison import Comparison, group_runs, read_runs
from flare_mri.report.paired import FEWEST
from flare_mri.report.results import save_results

SITES = ("site-1", "site-2")
NETWORK = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 8}}


def entry(job: str, seed: int, psnr: dict[str, float], **changed: Any) -> dict[str, Any]:
    settings = {"job": job, "num_rounds": 1, "network": NETWORK, "training": {"loss": "mse", "lr": 0.1, "seed": seed}}
    settings["training"] |= {key: value for key, value in changed.items() if key != "network"}
    settings |= {key: value for key, value in changed.items() if key == "network"}
    sites = {
        site: {"test": {"psnr": value, "ssim": value / 40}, "zero_filled": {"psnr": 20.0}}
        for site, value in psnr.items()
    }
    return {
        "job": job, "created": "2026-03-02T10:11:12+00:00", "seed": seed, "settings": settings, "seconds": 1.0,
        "sites": sites, "rounds": [],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Writes the results.json of a run, and the scores of volumes that its sites keep; returns its path."""

    def write(method: str, seed: int, volumes: dict[str, list[float]], **changed: Any) -> Path:
        job = f"{method.lower()}-{seed}" + "".join(f"-{value}" for value in changed.values() if isinstance(value, str))
        means = {site: statistics.fmean(values) for site, values in volumes.items()}
        for site, values in volumes.items():
            scores = {pseudonym(site, f"patient {n}"): {"psnr": value} for n, value in enumerate(values)}
            folder = tmp_path / "stores" / job / site / ("0" * 32)
            folder.mkdir(parents=True)
            (folder / SCORES_FILE).write_text(scores_text({method: scores}))
        results = {"format_version": 1, "versions": {}, "methods": {method: entry(job, seed, means, **changed)}}
        return save_results(results, tmp_path / job / "results.json")

    return write


def volumes_of(shift: float, count: int = 8) -> dict[str, list[float]]:
    """Scores of some volumes of each site, all `shift` and a little noise above those of shift 0."""
    base = np.random.default_rng(0).normal(28, 2, (2, count))
    noise = np.random.default_rng(1).normal(0, 0.2, (2, count)) if shift else 0
    return {site: list(map(float, row)) for site, row in zip(SITES, base + shift + noise, strict=True)}


def compare(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["compare", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_mean_and_deviation_are_over_seeds(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = [run("FedAvg", seed, {"site-1": [27.0 + seed], "site-2": [29.0 + 2 * seed]}) for seed in (0, 1, 2)]
    told = compare(capsys, *files)
    scores = told["scores"]["psnr"]["FedAvg"]
    assert scores["mean"] == pytest.approx(29.5) and scores["sd"] == pytest.approx(np.std([28, 29.5, 31], ddof=1))
    assert scores["sites"]["site-2"] == {"mean": pytest.approx(31), "sd": pytest.approx(2)}
    assert [one["seed"] for one in told["rows"]["FedAvg"]["runs"]] == [0, 1, 2] and told["rows"]["FedAvg"][
        "loss"
    ] == "mse"
    assert told["scores"]["psnr"]["Zero-filled"]["mean"] == 20 and told["paired"] == {}
    assert main(["compare", *map(str, files)]) == 0
    printed = capsys.readouterr().out
    assert "29.50 ± 1.50" in printed and "stay in the hospitals' stores" in printed


def test_rows_say_in_what_they_differ(run: Any) -> None:
    other = {"path": "monai.networks.nets.BasicUNet", "args": {}}
    files = [
        run("FedAvg", 0, volumes_of(0)),
        run("FedAvg", 1, volumes_of(0)),
        run("FedAvg", 0, volumes_of(0), loss="l1"),
        run("FedMRI", 0, volumes_of(1), network=other),
        run("FedMRI", 0, volumes_of(1), network=other, lr="0.2"),
    ]
    rows = group_runs(read_runs(files))
    assert [(row.label, len(row.runs)) for row in rows] == [
        ("FedAvg, UNet, loss mse", 2),
        ("FedAvg, UNet, loss l1", 1),
        ("FedMRI, BasicUNet, loss mse, lr 0.1", 1),
        ("FedMRI, BasicUNet, loss mse, lr 0.2", 1),
    ]
    comparison = Comparison(rows)
    assert comparison.find_row("FedAvg, UNet, loss l1") == "FedAvg, UNet, loss l1"
    for name in ("FedAvg", "Ditto"):
        with pytest.raises(InputError, match=f"--against {name}: expected one of FedAvg, UNet, loss mse; "):
            comparison.find_row(name)


def test_one_seed_twice_is_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = run("FedAvg", 0, volumes_of(0))
    copied = save_results(json.loads(file.read_text()), file.with_name("copy.json"))
    for words, told in (
        ([file, file], "got it twice"),
        ([file, copied], "FedAvg with seed 0 and these settings stands"),
    ):
        assert main(["compare", *map(str, words)]) == 2
        assert told in capsys.readouterr().err


def test_volumes_are_paired_as_by_hand(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each volume counts once, whatever the number of seeds; only seeds of both rows count."""
    base, better, same = volumes_of(0), volumes_of(0.3), volumes_of(0)
    files = [run("FedAvg", 0, base), run("FedAvg", 1, base), run("FedMRI", 0, better), run("FedMRI", 1, base)]
    files += [run("FedMRI", 2, {site: [1.0] * 8 for site in SITES}), run("Ditto", 0, same)]
    told = compare(capsys, *files, "--stores", tmp_path / "stores")
    found = {test["row"]: test for test in told["paired"]["psnr"]}
    assert told["against"] == "FedAvg" and found.keys() == {"FedMRI", "Ditto"}
    by_hand = [(b - a) / 2 for site in SITES for a, b in zip(base[site], better[site], strict=True)]
    assert found["FedMRI"]["pairs"] == 16 and found["FedMRI"]["median"] == pytest.approx(np.median(by_hand))
    assert found["FedMRI"]["p"] == pytest.approx(wilcoxon(by_hand).pvalue) and found["FedMRI"]["p"] < 0.05
    assert found["FedMRI"]["better"] == sum(value > 0 for value in by_hand)
    assert found["Ditto"]["p"] is None and "0 differ" in found["Ditto"]["note"] and found["Ditto"]["median"] == 0


def test_holm_s_correction(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [run("FedAvg", 0, volumes_of(0)), run("FedMRI", 0, volumes_of(0.2)), run("Ditto", 0, volumes_of(0.05))]
    tests = compare(capsys, *files, "--stores", tmp_path / "stores")["paired"]["psnr"]
    small, large = sorted(tests, key=lambda test: test["p"])
    assert small["adjusted"] == pytest.approx(2 * small["p"])
    assert large["adjusted"] == pytest.approx(max(2 * small["p"], large["p"]))


@pytest.mark.parametrize(("count", "says"), [(FEWEST // 2, True), (FEWEST // 2 - 1, False)])
def test_too_few_pairs_say_nothing(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, says: bool
) -> None:
    files = [run("FedAvg", 0, volumes_of(0, count)), run("FedMRI", 0, volumes_of(1, count))]
    (test,) = compare(capsys, *files, "--stores", tmp_path / "stores")["paired"]["psnr"]
    assert test["pairs"] == 2 * count and (test["p"] is not None) == says
    assert says or f"too few pairs to say anything: {2 * count} differ, the test needs {FEWEST}" == test["note"]


def test_a_hospital_tests_by_its_own_store_alone(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [run("FedAvg", 0, volumes_of(0)), run("FedMRI", 0, volumes_of(0.3))]
    own = [tmp_path / "stores" / job / "site-1" for job in ("fedavg-0", "fedmri-0")]
    (test,) = compare(capsys, *files, "--stores", own[0], "--stores", own[1])["paired"]["psnr"]
    assert test["pairs"] == 8


def test_scores_of_another_run_are_not_taken(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A later job of the same name left other scores: their means are not what the results say."""
    files = [run("FedAvg", 0, volumes_of(0)), run("FedMRI", 0, volumes_of(0.3))]
    for path in (tmp_path / "stores").rglob(SCORES_FILE):
        content = json.loads(path.read_text())
        for scores in content["rows"].values():
            for values in scores.values():
                values["psnr"] += 0.1
        path.write_text(json.dumps(content))
    assert main(["compare", *map(str, files), "--stores", str(tmp_path / "stores")]) == 2
    assert "give the stores of these very runs" in capsys.readouterr().err


def test_the_page_has_rows_tests_and_no_single_volume(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volumes = {"FedAvg": volumes_of(0), "FedMRI": volumes_of(0.3)}
    files = [run(method, seed, found) for method, found in volumes.items() for seed in (0, 1)]
    out = tmp_path / "compare.html"
    told = ["--stores", str(tmp_path / "stores"), "--out", str(out)]
    assert main(["compare", *map(str, files), *told]) == 0
    assert f"page: {out}" in capsys.readouterr().out
    page = out.read_text()
    assert "Wilcoxon signed rank" in page and "± 0.00" in page and "fedmri-0, fedmri-1" in page
    assert "holds no images and no data of single patients" in page
    assert not [n for n in range(8) for site in SITES if pseudonym(site, f"patient {n}") in page]


def test_only_sites_that_all_runs_have_are_compared(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = run("FedAvg", 0, {"site-1": [27.0], "site-2": [29.0], "site-10": [99.0]})
    other = run("FedMRI", 0, {"site-2": [30.0], "site-1": [28.0], "site-3": [1.0]})
    told = compare(capsys, first, other)
    means = {name: told["scores"]["psnr"][name]["mean"] for name in ("FedAvg", "FedMRI")}
    assert means == {"FedAvg": 28, "FedMRI": 29}
    assert told["left_out"] == {f"FedAvg of {first}": ["site-10"], f"FedMRI of {other}": ["site-3"]}
    assert main(["compare", str(first), str(other)]) == 0
    printed = capsys.readouterr().out
    assert f"Left out: site-10 of FedAvg of {first}; site-3 of FedMRI of {other}." in printed and "99" not in printed


def test_runs_without_a_common_site_are_refused(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = run("FedAvg", 0, {"a": [27.0]}), run("FedMRI", 0, {"b": [30.0], "c": [28.0]})
    assert main(["compare", str(first), str(other)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {other}: FedMRI: expected a site that all runs have, got b, c, beside a of FedAvg")
    assert told.count("\n") == 1


def test_the_most_that_a_seed_spent_of_privacy_counts(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = [run("FedAvg", seed, volumes_of(0)) for seed in (0, 1)]
    for file, epsilon in zip(files, (3.0, 4.5), strict=True):
        results = json.loads(file.read_text())
        results["methods"]["FedAvg"]["sites"]["site-1"]["privacy"] = {"epsilon": epsilon, "delta": 1e-5}
        save_results(results, file)
    assert main(["compare", *map(str, files)]) == 0
    assert "FedAvg: site-1 4.5 (δ 1e-05)\n" in capsys.readouterr().out
