# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's federated statistics on the server: sites are asked, their answers checked, summed up and filed."""

import datetime
import json
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.workflows.statistics_controller import StatisticsController

from flare_mri.atomic_file import write_atomically
from flare_mri.config.statistics import INTENSITY, INTENSITY_BINS, INTENSITY_RANGE
from flare_mri.flare.executors.statistics import PRECISION
from flare_mri.flare.statistics_message import problem_in_statistics
from flare_mri.flare.workflows.run_record import versions

STATISTICS_FILE = "statistics.json"


def configure_statistics(bins: int) -> dict[str, Any]:
    """FLARE's configuration: numbers, means and deviations, and histograms between the ends that sites tell."""
    intensities = {"bins": INTENSITY_BINS, "range": list(INTENSITY_RANGE)}
    histogram = {"*": {"bins": bins}, INTENSITY: intensities}
    return {"count": {}, "sum": {}, "mean": {}, "stddev": {}, "histogram": histogram}


class GatherStatistics(StatisticsController):
    """FLARE's controller of statistics, which takes no answer unchecked and goes on without a site that gives none.

    FLARE's own fails where one hospital holds everything back, waits a second for those after the first `min_sites`,
    and may end without a file and without an error.

    Args:
        job: name of the job.
        min_sites: good answers that are needed.
        bins: of histograms over patients.
        wait_time_after_min_received: seconds to wait for further sites once `min_sites` have answered.
    """

    def __init__(self, job: str, min_sites: int = 1, bins: int = 8, wait_time_after_min_received: int = 600):
        super().__init__(
            configure_statistics(bins),
            writer_id="",
            wait_time_after_min_received=wait_time_after_min_received,
            precision=PRECISION,
            min_clients=min_sites,
            enable_pre_run_task=False,
        )
        self.job = job
        self.min_sites = min_sites
        self.bins = bins
        self._answered: set[str] = set()
        self._filed = False

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Ask twice, as FLARE does: first for the ends of histograms, then for the histograms between them."""
        super().control_flow(abort_signal, fl_ctx)
        if not self._filed and not abort_signal.triggered:
            self.system_panic(
                f"statistics: {len(self._answered)} sites answered ({', '.join(sorted(self._answered)) or 'none'}), "
                f"expected at least {self.min_sites}; the log of each other one says why: its policy, or its data",
                fl_ctx,
            )

    def results_cb(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """Take an answer that holds what it may."""
        client: Client = client_task.client
        result: Any = client_task.result
        if result.get_return_code() == ReturnCode.OK:
            dxo = _read(result)
            problem = "no statistics" if dxo is None else problem_in_statistics(dxo.data)
            if problem:
                self.log_warning(fl_ctx, f"answer of {client.name} left out: {problem}")
                client_task.result = make_reply(ReturnCode.BAD_TASK_DATA)  # type: ignore[assignment]
            else:
                self._answered.add(client.name)
        super().results_cb(client_task, fl_ctx)

    def handle_client_errors(self, rc: str, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """Go on without a site; too few end the job later."""
        self.log_warning(fl_ctx, f"going on without {client_task.client.name}: {rc}, its log says why")

    def _validate_min_clients(self, min_clients: int, client_statistics: dict) -> bool:
        return len(self._answered) >= min_clients

    def post_fn(self, task_name: str, fl_ctx: FLContext) -> None:
        """Sum up and write ``statistics.json`` into the run's folder."""
        if not self._validate_min_clients(self.min_sites, self.client_statistics):
            return
        engine = fl_ctx.get_engine()
        path = Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id())) / STATISTICS_FILE
        told = {
            "format_version": 1,
            "job": self.job,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "sites": sorted(self._answered),
            "statistics": self._combine_all_statistics(),
        }
        write_atomically(path, json.dumps(told, indent=1))
        self._filed = True
        self.log_info(fl_ctx, f"statistics of {len(self._answered)} sites: {path.name}")


def _read(result: Any) -> DXO | None:
    try:
        dxo = from_shareable(result)
    except ValueError:
        return None
    return dxo if dxo.data_kind == DataKind.STATISTICS else None
