# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a server sees to before it takes anything from a site's answer."""

from collections.abc import Callable, Iterable

from nvflare.app_common.abstract.fl_model import FLModel

from flare_mri.wire import problem_in_metrics


def usable_answers(
    answers: Iterable[FLModel], task: str, warn: Callable[[str], None], needs: Iterable[str] = ()
) -> list[FLModel]:
    """The answers whose metrics can be filed; the others are left out, each with a warning that names the site.

    A site's own filter lets nothing else pass, but a site may run another program: one value that is no number would
    end the job of all, or spoil the weights of an average.

    Args:
        answers: as FLARE gives them.
        task: which they answer, for the warning.
        warn: takes the warning.
        needs: metrics that must be there.
    """
    good = []
    for answer in answers:
        metrics = answer.metrics or {}
        problem = problem_in_metrics(metrics)
        absent = "" if problem else next((name for name in needs if name not in metrics), "")
        if absent:
            problem = f"metric {absent!r} is missing"
        if problem:
            warn(f"{task}: answer of {answer.meta['client_name']} left out: {problem}")
        else:
            good.append(answer)
    return good
