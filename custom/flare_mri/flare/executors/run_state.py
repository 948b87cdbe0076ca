# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A learner as a site's last round of a run left it, whatever process that was in."""

from nvflare.apis.fl_context import FLContext

from flare_mri.flare.executors.base import SiteExecutor
from flare_mri.training import Learner, RunStates


def restore_learner(
    executor: SiteExecutor, fl_ctx: FLContext, learner: Learner, states: RunStates, round_number: int
) -> None:
    """Give a learner the site's private state of this very run, where one is kept; say in the log where it is not.

    Args:
        executor: whose log it is.
        fl_ctx: of the task.
        learner: with initial weights.
        states: of the run; those of its first start are forgotten in round 0.
        round_number: of the job, from 0.

    Raises:
        InputError: a state cannot be read, or does not fit the site's data or the job's network.
    """
    site = states.store.site
    if round_number == 0:
        states.forget()
        return
    found = states.last(round_number)
    if found is None:
        executor.log_warning(fl_ctx, f"site {site}: no private state of this run; joining it at round {round_number}")
        if old := states.old_files():
            executor.note(fl_ctx, f"site {site}: states of an earlier version are not used: {old}", old)
        return
    number, state = found
    if number < round_number - 1:
        executor.log_info(fl_ctx, f"site {site}: away since round {number}; going on from its private state")
    learner.restore(state, number)
