# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The results in plain words, for readers who know patients better than decibels."""

from __future__ import annotations

from flare_mri.config.results import BASELINE, BASELINES
from flare_mri.report.scores import Scores

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def count(number: int, noun: str) -> str:
    """``four hospitals``, ``one hospital``, ``15 rounds``."""
    word = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{word} {noun}" + ("" if number == 1 else "s")


def summary_sentences(scores: Scores, name_sites: bool = False) -> list[str]:
    """The outcome in a few sentences for a clinician.

    Args:
        scores: The main metric.
        name_sites: Name the sites where there are few of them, as these are not all.

    Returns:
        Sentences, the most important one first.
    """
    metric = scores.metric
    if scores.unranked:
        return [scores.unranked]
    if not (ranking := scores.ranking()):
        return [f"No method has a {metric.name} that could be compared."]
    winner = ranking[0]
    scores = scores.without_own_rows(winner)
    ranking = scores.ranking()
    best = scores.mean(winner)
    assert best is not None  # ranking() holds methods with values only
    if metric.task == "segmentation" and metric.higher_is_better and round(best, metric.digits) == 0:
        return [f"No method found the organ: the mean {metric.name} of all is {metric.quantity(best)}."]
    sites = list(scores.values[winner])
    images = metric.task == "reconstruction"
    places = ", ".join(sites) if name_sites and len(sites) < 3 else count(len(sites), "hospital")
    who = f"{winner}, which learns nothing," if winner in BASELINES.values() else winner
    if _next(ranking) is None:
        lead = f"At {places}, {who} gave {'images' if images else 'outlines'} with"
    else:
        claim = "the images closest to the fully sampled scans" if images else "the outlines closest to the experts'"
        lead = f"{'Over' if len(sites) > 1 else 'At'} {places}, {who} gave {claim}:"
    value = f"a mean {metric.name} of {metric.quantity(best)}"
    text = f"{lead} {value}{_against_input(scores, winner, best)}{_against_next(scores, ranking)}."
    return [text, *_by_site(scores, ranking, sites), f"What {metric.name} means: {metric.meaning}"]


def _next(ranking: list[str]) -> str | None:
    """The second best; the input, with which all are compared, is none."""
    return next((row for row in ranking[1:] if row != BASELINE), None)


def _against_input(scores: Scores, winner: str, best: float) -> str:
    """The gain over the unprocessed input, over the winner's own sites."""
    metric = scores.metric
    found = [scores.get(BASELINE, site) for site in scores.values[winner]]
    known = [value for value in found if value is not None]
    if not known or len(known) < len(found) or winner == BASELINE:
        return ""
    gain = metric.gain(best, sum(known) / len(known))
    word = "better" if gain >= 0 else "worse"
    return f", {scores.metric.quantity(abs(gain))} {word} than the undersampled images without a network (zero-filled)"


def _against_next(scores: Scores, ranking: list[str]) -> str:
    rival = _next(ranking)
    if rival is None:
        return ""
    first, second = scores.mean(ranking[0]), scores.mean(rival)
    assert first is not None and second is not None
    gain = scores.metric.gain(first, second)
    if gain < scores.metric.negligible:
        return f"; the next method, {rival}, is practically level ({scores.metric.quantity(second)})"
    link = " and" if BASELINE in scores.values and ranking[0] != BASELINE else ","
    return f"{link} {scores.metric.quantity(gain)} better than the next best method, {rival}"


def _by_site(scores: Scores, ranking: list[str], sites: list[str]) -> list[str]:
    """At how many hospitals the winner is best, where the input was not improved, and what learning was worth."""
    sentences, winner = [], ranking[0]
    if _next(ranking) is not None and len(sites) > 1:
        ahead = sum(winner in scores.best(site) for site in sites)
        where = "every one" if ahead == len(sites) else "none" if not ahead else f"{ahead}"
        sentences.append(f"{winner} was the best at {where} of the {count(len(sites), 'hospital')}.")
    worse = _ahead(scores, BASELINE, winner, sites)
    if worse:
        sentences.append(f"At {', '.join(worse)} it was worse than the image without a network.")
    if winner not in BASELINES.values():
        return [*sentences, *_by_classical(scores, winner, sites)]
    trained = next((row for row in ranking if row not in BASELINES.values()), None)
    if trained is None:
        return sentences
    mean, where = scores.metric.quantity(scores.mean(trained)), ", ".join(_ahead(scores, trained, winner, sites))
    told = f"it was better than {winner} at {where}" if where else f"it was better than {winner} at no hospital"
    return [*sentences, f"The best of the trained methods is {trained}, with a mean of {mean}; {told}."]


def _ahead(scores: Scores, row: str, other: str, sites: list[str]) -> list[str]:
    """The sites at which `row` is better than `other`."""
    pairs = {site: (scores.get(row, site), scores.get(other, site)) for site in sites}
    return [s for s, (v, o) in pairs.items() if v is not None and o is not None and scores.metric.gain(v, o) > 0]


def _by_classical(scores: Scores, winner: str, sites: list[str]) -> list[str]:
    """Where a reconstruction that learns nothing is better than the winner, in one sentence for the same sites."""
    ahead: dict[str, list[str]] = {}
    for title in [title for title in BASELINES.values() if title != BASELINE]:
        if better := _ahead(scores, title, winner, sites):
            ahead.setdefault(", ".join(better), []).append(title)
    return [
        f"At {places} {' and '.join(titles)}, which {'learns' if len(titles) == 1 else 'learn'} nothing, "
        f"{'was' if len(titles) == 1 else 'were'} better than {winner}."
        for places, titles in ahead.items()
    ]
