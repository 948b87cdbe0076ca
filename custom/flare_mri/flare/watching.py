# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How a job of a consortium goes, as its server tells it, and how it ended."""

import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import RunStatus
from nvflare.fuel.flare_api.api_spec import InternalError, JobNotFound, JobNotRunning, NoReply
from nvflare.fuel.flare_api.flare_api import Session

from flare_mri.flare.protocol import PROGRESS
from flare_mri.flare.recipes.follow import show_progress, show_rounds
from flare_mri.flare.session import download_job
from flare_mri.flare.workflows.run_record import RESULTS_FILE

_ERROR = re.compile(r" - (?:PersonalizedFedAvg|RouteOutside|ServerRunner|JobRunner) - ERROR - (?:\[.*?\] - )?(.*)")
_PANIC = "Aborting current RUN due to FATAL_SYSTEM_ERROR received: "
_WAITING = ("SUBMITTED", "APPROVED", "DISPATCHED")


def follow(session: Session, job: str, every: float = 5.0) -> dict[str, Any]:
    """Print states and rounds of a job until it has ended; returns FLARE's meta of it.

    Args:
        session: of a person who may see it.
        job: its id.
        every: seconds between questions.
    """
    state, waiting, shown = "", "", 0
    last: Mapping[str, Any] = {}
    while True:
        meta = session.get_job_meta(job)
        name = meta.get("name", job)
        if meta["status"] != state:
            state = meta["status"]
            print(f"{time.strftime('%H:%M:%S')} {name}: {state}", flush=True)
        if (history := meta.get("schedule_history") or [""])[-1] != waiting and state in _WAITING:
            waiting = history[-1]
            print(f"  {waiting}", flush=True)
        if state.startswith("FINISHED"):
            return meta | {"last_round": last, "shown": shown}
        if state == RunStatus.RUNNING:
            progress = ask_progress(session, job)
            rounds = progress.get("rounds", [])
            shown = show_rounds(rounds, progress.get("num_rounds") or 0, name, shown)
            last = rounds[-1] if rounds else last
        time.sleep(every)


def ask_progress(session: Session, job: str) -> Mapping[str, Any]:
    """The last rounds as the server's part of the job tells them; empty while it starts or ends."""
    # While a job's process starts it cannot answer, and its log has a line for every question.
    try:
        stats = session.show_stats(job, "server")
    except (JobNotFound, JobNotRunning, NoReply, InternalError):
        return {}
    return stats.get("server", {}).get(PROGRESS, {})


def tell_end(session: Session, meta: Mapping[str, Any], kit: str = "") -> bool:
    """Print the rounds that were not shown, how a job ended and which sites did badly; returns whether it completed.

    Args:
        session: of a person who may take the job's results.
        meta: of :func:`follow`.
        kit: the words that give another command this person's startup kit.
    """
    job, last = meta["job_id"], meta["last_round"]
    refusals = [detail for detail in meta.get("job_deploy_detail") or [] if not detail.endswith(": OK")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            left = download_job(session, job, Path(folder))
        except InternalError:  # it never ran: there is nothing to download
            left = Path(folder)
        show_progress(left / RESULTS_FILE, meta.get("name", job), meta["shown"])
        reasons = find_reasons(left / "error_log.txt")
        if (left / RESULTS_FILE).exists():
            run = next(iter(json.loads((left / RESULTS_FILE).read_text())["methods"].values()))
            last = run["rounds"][-1] if run["rounds"] else last
    for detail in refusals:
        print(f"  {detail}")
    sites = sorted({site for names in meta.get("deploy_map", {}).values() for site in names} - {"server", "@ALL"})
    absent = [site for site in (last or {}).get("drawn") or sites if last and site not in last["sites"]]
    if absent:
        print(f"  without {', '.join(absent)} in round {last['round'] + 1}: their logs say why")
    if meta["status"] == RunStatus.FINISHED_COMPLETED:
        print(f"  flare-mri results {job} --out FOLDER{kit} takes what it left")
        return True
    silent = (
        f"its log at the server names no cause: a process of a hospital ended; see each hospital's kit/{job}/log.txt"
    )
    for line in reasons or ([] if refusals else [silent]):
        print(f"  {line}")
    return False


def find_reasons(log: Path) -> list[str]:
    """The errors that the job's own log at the server holds, each once."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = [found[1].removeprefix(_PANIC) for line in text.splitlines() if (found := _ERROR.search(line))]
    return list(dict.fromkeys(lines))
