# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Server-side validation of sites' answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nvflare.app_common.abstract.fl_model import FLModel

from flare_mri.config.privacy import PRIVATE
from flare_mri.errors import InputError
from flare_mri.flare.protocol import REFUSED, TaskName, problem_in_metrics, under

CLAIM, LOSS = "slices/train", "train/loss"
NEEDED = {
    TaskName.CHECK: (CLAIM,),
    TaskName.TRAIN: (LOSS, CLAIM),
    TaskName.SUBMIT: (CLAIM,),
}
"""Metrics without which an answer is none, by task of a training job; private training tells no loss."""


class Answers:
    """Sorts the answers to a job's tasks: those that can be used, those that refuse the job, and the rest.

    A site's own filter lets nothing else pass, but a site may run another program: one value that is no number would
    end the job of all, or spoil the weights of an average. What a site says of its training slices when it is checked
    holds for the job: an answer that claims another number is left out.

    Args:
        job: the job's own settings by part of a site's policy, as the lead is to read them.
        warn: takes a warning, one line that names the site, for every answer that is left out.
    """

    def __init__(self, job: Mapping[str, Any], warn: Callable[[str], None]):
        self.job = dict(job)
        self.warn = warn
        self.claims: dict[str, float] = {}
        self.refused: dict[str, str] = {}

    def is_usable(self, answer: FLModel, task: str, needs: Iterable[str] = ()) -> bool:
        """Whether an answer can be filed; else there is a warning, and :attr:`refused` holds what a policy refuses.

        Args:
            answer: as FLARE gives it.
            task: which it answers.
            needs: metrics that must be there.
        """
        site, metrics = str(answer.meta["client_name"]), answer.metrics or {}
        problem = problem_in_metrics(metrics) or self._refusal(site, metrics) or self._lack(site, metrics, needs)
        if problem:
            self.warn(f"{task}: answer of {site} left out: {problem}")
            return False
        if task == TaskName.CHECK and CLAIM in metrics:
            self.claims[site] = metrics[CLAIM]
        return True

    def tell_missing(self, task: str, round_number: int, sites: list[str], answered: int, at_least: int) -> None:
        """A warning that names the sites without a usable answer.

        Raises:
            InputError: fewer than `at_least` answered; the job must not go on.
        """
        missing = ", ".join(sites)
        if task == TaskName.CHECK and answered < at_least:
            self.end_if_refused(sites)
            raise InputError(f"not ready: {missing}; each such site's log names what to correct, no round was run")
        if answered < at_least:
            raise InputError(
                f"{task} in round {round_number}: {answered} sites answered, expected at least {at_least}; no usable "
                f"answer from {missing}, see their logs"
            )
        self.warn(
            f"{task} in round {round_number}: going on without {missing}: too late, or an error that its log names"
        )

    def end_if_refused(self, others: Iterable[str]) -> None:
        """End a job that has not begun.

        Args:
            others: further sites that did not say that they are ready.

        Raises:
            InputError: a site refuses the job; the line says which, and what in the words of the job's settings.
        """
        if self.refused:
            lines = [f"refused by {site}: {what}" for site, what in sorted(self.refused.items())]
            not_ready = ", ".join(site for site in others if site not in self.refused)
            lines += [f"not ready besides: {not_ready}"] if not_ready else []
            raise InputError(f"{'; '.join(lines)}; take a setting that the site admits or leave the site out")

    def _refusal(self, site: str, metrics: Mapping[str, float]) -> str:
        parts = sorted(under(REFUSED, metrics))
        if not parts:
            return ""
        said = [f"{part} {self.job.get(part, 'of the job')} is outside its policy" for part in parts]
        self.refused[site] = ", ".join(said)
        return f"refused: {self.refused[site]}"

    def _lack(self, site: str, metrics: Mapping[str, float], needs: Iterable[str]) -> str:
        absent = next((name for name in needs if name not in metrics), None)
        if absent:
            return f"metric {absent!r} is missing"
        if CLAIM not in needs:
            return ""
        claim, said = metrics[CLAIM], self.claims.get(site, metrics[CLAIM])
        if claim < 1:
            return f"{CLAIM}: {claim:g}, expected at least one"
        return "" if claim == said else f"{CLAIM}: {claim:g}, expected {said:g} as it said when it was checked"


def job_in_words(method: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """A job's settings by the parts that a site's policy may refuse."""
    network = settings.get("network", {})
    values = {
        "method": repr(method),
        "shared_layers": repr(settings.get("shared_layers")),
        "network": f"{network.get('path')} {network.get('args', {})}",
        "optimizer": repr(settings.get("training", {}).get("optimizer")),
        "privacy": _privacy_in_words(settings.get("training", {})),
    }
    return {part: value for part, value in values.items() if "None" not in value}


def _privacy_in_words(training: Mapping[str, Any]) -> str:
    if all(training.get(name) is None for name in PRIVATE):
        return f"without {' or '.join(PRIVATE)}"
    return f"for each {training.get('dp_unit')}"
