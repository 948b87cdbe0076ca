# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Common part of the server's workflows: sites are asked, their answers sorted, and a mistake ends the job."""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.log_utils import get_module_logger
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from flare_mri.errors import InputError
from flare_mri.flare.protocol import PROGRESS
from flare_mri.flare.workflows.answers import Answers
from flare_mri.flare.workflows.run_record import RESULTS_FILE

_ROUNDS_TOLD = 20
_logger = get_module_logger(__name__)  # FLARE's own controllers speak by the logger of the controller's class


class SiteController(ModelController):
    """A workflow that gives tasks to sites and takes no answer unchecked.

    Arguments are those of FLARE's ``ModelController``. A site may answer with an error, and a job may share nothing.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(ignore_result_error=True, allow_empty_global_weights=True, **kwargs)

    def run(self) -> None:
        """Run the job; an :class:`~flare_mri.errors.InputError` ends it with its one line."""
        fobs.register(TensorDecomposer)
        try:
            self.run_job()
        except InputError as e:
            self.panic(str(e))

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Tell whoever asks for the job's stats (FLARE's ``show_stats``) the last rounds, as results.json has them."""
        super().handle_event(event_type, fl_ctx)
        collector = fl_ctx.get_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR)
        if event_type == InfoCollector.EVENT_TYPE_GET_STATS and isinstance(collector, GroupInfoCollector):
            path = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())) / RESULTS_FILE
            methods = json.loads(path.read_text())["methods"] if path.exists() else {}
            for entry in list(methods.values())[:1]:
                known = {"num_rounds": entry["settings"].get("num_rounds"), "rounds": entry["rounds"][-_ROUNDS_TOLD:]}
                collector.set_info(group_name=PROGRESS, info=known)

    def tell(self, message: str) -> None:
        """Say how the job goes, on the console of a simulated job too, where FLARE's own steps are left out."""
        _logger.info(message)

    @abstractmethod
    def run_job(self) -> None:
        """Run the job.

        Raises:
            InputError: it cannot go on; the line says why and names the site.
        """

    def find_sites(self) -> list[str]:
        """Names of the connected sites, sorted."""
        return sorted(client.name for client in self.engine.get_clients())  # type: ignore[union-attr]

    def is_aborted(self) -> bool:
        """Whether the job is to end at once."""
        return self.abort_signal is not None and bool(self.abort_signal.triggered)

    def collect_answers(
        self,
        answers: Answers,
        model: FLModel,
        task: str,
        sites: Sequence[str],
        needs: Iterable[str],
        take: Callable[[FLModel], Any] | None = None,
        **waiting: Any,
    ) -> tuple[list[FLModel], list[str]]:
        """Give sites a task and wait for what they answer; tensors are handed on as they come, and dropped.

        FLARE calls back for one answer after the other, for one site once, and not after the task has ended.

        Args:
            answers: sorts them.
            model: what the task brings.
            task: its name.
            sites: who is asked.
            needs: metrics without which an answer is none.
            take: gets each usable answer, with its tensors.
            waiting: of ``broadcast_model``: for how many answers and how long.

        Returns:
            The usable answers, without tensors, and the sites that gave none.

        Raises:
            InputError: `take` failed; the task is over for all.
        """
        usable: list[FLModel] = []
        failures: list[InputError] = []
        needs = list(needs)

        def receive(answer: FLModel) -> Any:  # False where it is left out, which FLARE tells its own listeners
            if failures or not answers.is_usable(answer, task, needs):
                return False
            try:
                if take is not None:
                    take(answer)
            except InputError as error:  # FLARE would log it and go on without this site
                failures.append(error)
                return False
            answer.params = None
            usable.append(answer)
            return True

        self.broadcast_model(model, task_name=task, targets=list(sites), blocking=False, callback=receive, **waiting)
        while self.get_num_standing_tasks() and not self.is_aborted():
            if failures:
                self.cancel_all_tasks()
            time.sleep(self._task_check_period)
        if failures:
            raise failures[0]
        answered = {answer.meta["client_name"] for answer in usable}
        return usable, [site for site in sites if site not in answered]

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer to a task that is over; FLARE's own would keep its tensors until the next one."""
        self.warning(f"{task_name}: answer of {client.name} came too late and is left out")
