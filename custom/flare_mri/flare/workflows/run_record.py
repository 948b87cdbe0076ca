# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Results of a run on the server: results.json, and curves while it goes on."""

import datetime
import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import nvflare
import torch
from nvflare.app_common.abstract.fl_model import FLModel

import flare_mri
from flare_mri.atomic_file import write_atomically
from flare_mri.config.results import BASELINES, FORMAT_VERSION, GLOBAL_ROW
from flare_mri.flare.protocol import PHANTOM, under
from flare_mri.flare.workflows.tracking import make_tracker

RESULTS_FILE = "results.json"
_TOLD = {"train_loss": "training loss", "epsilon": "ε spent"}


class RunRecord:
    """Collects the metrics that came with the sites' answers and writes them after every round.

    A model is evaluated by the sites when they receive it, so the validation that comes with the answers of round
    t + 1 belongs to the aggregate of round t, and is filed there.

    Args:
        run_dir: folder of the run on the server; ``results.json`` is made in it.
        method: name of the method, the key in results.json.
        settings: the job's settings, copied to results.json.
        tracking: where curves go, see :mod:`flare_mri.flare.workflows.tracking`.
        warn: takes a line for what curves lack.

    Raises:
        InputError: there is no place for curves.
    """

    def __init__(
        self,
        run_dir: str,
        method: str,
        settings: Mapping[str, Any],
        tracking: str,
        warn: Callable[[str], None],
    ):
        self.path = Path(run_dir) / RESULTS_FILE
        self._started = time.monotonic()
        self._tracker = make_tracker(tracking, Path(run_dir), method, settings, warn)
        self._rounds: list[dict[str, Any]] = []
        self._sites: dict[str, dict[str, Any]] = {}
        self._run = {**run_entry(settings, method), "sites": self._sites, "rounds": self._rounds}
        self._method = method
        splits = ["validation", "test"] if settings.get("training", {}).get("test_each_round") else ["validation"]
        self._curves = [f"{model}{split}" for model in ("", "personal/") for split in splits]

    @property
    def entry(self) -> dict[str, Any]:
        """The run's entry of results.json, and its method."""
        return {**self._run, "method": self._method}

    def resume(self, entry: Mapping[str, Any]) -> None:
        """Go on from what an earlier job filed; curves start anew, with the present round."""
        self._rounds.extend(entry["rounds"])
        self._sites.update(entry["sites"])
        self._run["created"] = entry["created"]
        self._started -= entry["seconds"]

    def file_checks(self, answers: Iterable[FLModel]) -> set[str]:
        """File what the sites said: numbers of slices, whether a phantom's, baselines' scores; who they are."""
        found = _by_site(answers)
        for site, metrics in found:
            self._sites[site] = {"data": {k: int(v) for k, v in under("slices", metrics).items()}}
            if PHANTOM in metrics:
                self._sites[site]["phantom"] = True
            baselines = {name: under(f"{name}/test", metrics) for name in BASELINES}
            self._sites[site] |= {name: scores for name, scores in baselines.items() if scores}
        self._write()
        return {site for site, _ in found}

    def file_round(
        self,
        round_number: int,
        counted: Mapping[str, Mapping[str, float]],
        seconds: float,
        treated: Mapping[str, Iterable[str]],
    ) -> None:
        """File a round: losses, seconds and bytes of this one, validation of the aggregate before.

        Args:
            round_number: of the job.
            counted: site -> the metrics that came with its update, of those that counted.
            seconds: that the round took.
            treated: how updates were treated (``left_out``, ``scaled_down``) -> sites; ``drawn``: who was asked, where
                not all were.
        """
        row: dict[str, Any] = {"round": round_number, "seconds": round(seconds, 3), "sites": {}}
        row |= {how: sorted(sites) for how, sites in treated.items() if sites}
        self._rounds.append(row)
        for site, metrics in sorted(counted.items()):
            row["sites"][site] = {
                "train_loss": metrics.get("train/loss"),
                **({"epsilon": metrics["privacy/epsilon"]} if "privacy/epsilon" in metrics else {}),
                **({"privacy_spent": True} if metrics.get("privacy/spent") else {}),
                "seconds": metrics.get("train/seconds"),
                "bytes_received": int(metrics.get("wire/received", 0)),
                "bytes_sent": int(metrics.get("wire/sent", 0)),
                "slices": int(metrics.get("slices/train", 0)),
            }
            for curve, name in (("train_loss", "train/loss"), ("epsilon", "privacy/epsilon")):
                if name in metrics:
                    self._tracker.add(site, curve, metrics[name], round_number)
            self._file_evaluation(round_number - 1, site, metrics)
        self._write()
        self._tracker.flush()

    def file_validation(self, answers: Iterable[FLModel]) -> None:
        """File the last validation and the tests of the last and of the personal models."""
        for site, metrics in _by_site(answers):
            self._file_evaluation(len(self._rounds) - 1, site, metrics)
            for name in {"test", "best/test", "personal/test"} - set(self._curves):
                self._draw(site, name, under(name, metrics), len(self._rounds) - 1)
            entry = self._sites.setdefault(site, {})
            for split in ("validation", "test"):
                entry[split] = under(split, metrics)
                for model in ("best", "personal"):
                    if values := under(f"{model}/{split}", metrics):
                        entry.setdefault(model, {})[split] = values
            if privacy := under("privacy", metrics):
                entry["privacy"] = privacy
            if "best/round" in metrics:
                entry.setdefault("best", {})["round"] = int(metrics["best/round"])
        for site, entry in self._sites.items():
            if told := " ".join(filter(None, (self._tell_treated(site), self._tell_spent(site)))):
                entry["note"] = told
        self._write()

    def test_scores(self) -> dict[str, dict[str, float]]:
        """Site -> mean test scores of its personal model; "" -> those of the global model, over all sites."""
        tests = [entry["test"] for entry in self._sites.values() if entry.get("test")]
        metrics = set.intersection(*(set(test) for test in tests)) if tests else set()
        scores = {"": {metric: statistics.fmean(test[metric] for test in tests) for metric in sorted(metrics)}}
        own = {site: entry.get("personal", {}).get("test") for site, entry in self._sites.items()}
        return scores | {site: dict(test) for site, test in own.items() if test}

    def close(self, finished: bool) -> None:
        """End the curves; results.json goes with them where their place takes files."""
        self._tracker.close(self.path, finished)

    def file_cross_site(self, scores: Mapping[str, Any] | None) -> None:
        """File the scores of personal models at other sites, with those of the global model below."""
        if scores is None:
            return
        tests = [self._sites[site].get("test", {}) for site in scores["sites"]]
        rows = {metric: [*matrix, [test.get(metric) for test in tests]] for metric, matrix in scores["scores"].items()}
        self._run["cross_site"] = {**scores, "models": [*scores["models"], GLOBAL_ROW], "scores": rows}
        self._write()

    def drawn(self) -> set[str]:
        """Sites that were drawn in one of the rounds so far."""
        return {site for row in self._rounds for site in row.get("drawn", ())}

    def shut_out(self, after: int) -> set[str]:
        """Sites whose update was left out in so many rounds; none where `after` is 0."""
        counts = Counter(site for row in self._rounds for site in row.get("left_out", ()))
        return {site for site, count in counts.items() if after and count >= after}

    def _tell_treated(self, site: str) -> str:
        """In how many rounds a site's update did not count as it came; empty where it always did."""
        words = {"left_out": "left out", "scaled_down": "scaled down"}
        counts = {how: sum(site in row.get(how, ()) for row in self._rounds) for how in words}
        told = [f"{words[how]} in {count} of {len(self._rounds)} rounds" for how, count in counts.items() if count]
        return f"Its update was {' and '.join(told)}: the server's log says why." if told else ""

    def _tell_spent(self, site: str) -> str:
        """In how many rounds a site's privacy budget was spent; empty where it lasted."""
        spent = sum(bool(row["sites"].get(site, {}).get("privacy_spent")) for row in self._rounds)
        return f"Its privacy budget was spent: it did not train in {spent} rounds." if spent else ""

    def line(self, round_number: int, num_rounds: int) -> str:
        """One line of progress."""
        row = self._rounds[round_number]
        told = ", ".join(f"{name} {values}" for key, name in _TOLD.items() if (values := _values(row["sites"], key)))
        return ", ".join(filter(None, (f"round {round_number + 1}/{num_rounds} in {row['seconds']:.1f} s", told)))

    def _file_evaluation(self, round_number: int, site: str, metrics: Mapping[str, float]) -> None:
        row = self._rounds[round_number] if round_number >= 0 else {"sites": {}}
        if site not in row["sites"] and "drawn" not in row:
            return
        entry = row["sites"].setdefault(site, {})  # one that was not drawn scores the aggregate all the same
        for name in self._curves:
            if values := under(name, metrics):
                entry[name.replace("/", "_")] = values
                self._draw(site, name, values, round_number)

    def _draw(self, site: str, name: str, values: Mapping[str, float], round_number: int) -> None:
        for metric, value in values.items():
            self._tracker.add(site, f"{name}/{metric}", value, round_number)

    def _write(self) -> None:
        self._run["seconds"] = round(time.monotonic() - self._started, 1)
        write_results(self.path, {self._method: self._run})


def run_entry(settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The entry of a method in results.json before anything has happened."""
    return {
        "job": settings.get("job", method),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": settings.get("training", settings).get("seed", 0),
        "settings": dict(settings),
        "seconds": 0.0,
        "sites": {},
        "rounds": [],
    }


def write_results(path: Path, methods: Mapping[str, Any]) -> None:
    """Write results.json atomically: a reader sees the old file or the new one."""
    results = {"format_version": FORMAT_VERSION, "versions": versions(), "methods": methods}
    write_atomically(path, json.dumps(results, indent=1))


def versions() -> dict[str, str]:
    """Versions that a figure depends on."""
    return {
        "flare_mri": flare_mri.__version__,
        "nvflare": nvflare.__version__,
        "monai": monai.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _by_site(answers: Iterable[FLModel]) -> list[tuple[str, dict[str, float]]]:
    return sorted((str(a.meta["client_name"]), dict(a.metrics or {})) for a in answers)


def _values(sites: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """What a round's sites have of one number, by name."""
    return " ".join(f"{site} {entry[key]:.4g}" for site, entry in sorted(sites.items()) if entry.get(key) is not None)
