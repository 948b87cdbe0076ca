# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Bases of the executors: tasks by name, the site's policy, public and private log lines."""

import os
import traceback
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs

from flare_mri.errors import InputError
from flare_mri.flare.executors.received import read_model
from flare_mri.flare.executors.site import Site, open_site
from flare_mri.flare.executors.site_log import LOG_FILE, keep_libraries_here, write_site_log
from flare_mri.flare.protocol import TaskName
from flare_mri.training import AbortedError

Action = Callable[[FLModel, FLContext, Signal], FLModel]


class RefusedError(InputError):
    """The job is outside the hospital's policy. The message is of the job alone: it may be told to the lead."""


class SiteExecutor(Executor):
    """Carries out tasks at a hospital.

    FLARE's logs may reach the server's operator (its kits stream ``error_log.txt`` by default), so they get the kind of
    a mistake only; the line that names file, key and fix goes to ``flare_mri.log`` in the site's FLARE folder, which
    stays there.

    Args:
        job: name of the job; names the folder in the site store.
        require_site_config: refuse to fall back on the phantom where the site has no ``site.yaml``.
    """

    def __init__(self, job: str, require_site_config: bool):
        super().__init__()
        self.job = job
        self.require_site_config = require_site_config

    @abstractmethod
    def task_names(self) -> Collection[str]:
        """Tasks that it carries out."""

    @abstractmethod
    def carry_out(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """The answer to one of them; whatever it raises becomes a reply that holds an error's code alone."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Make tensors known to FLARE's serialisation; keep what libraries say of files out of FLARE's logs."""
        if event_type == EventType.START_RUN:
            fobs.register(TensorDecomposer)
            keep_libraries_here(workspace_root(fl_ctx))

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Carry out a task."""
        if task_name not in self.task_names():
            expected = ", ".join(self.task_names())
            self.log_error(fl_ctx, f"task {task_name!r:.80} is unknown, expected one of {expected}")
            return make_reply(ReturnCode.TASK_UNKNOWN)
        try:
            return self.carry_out(task_name, shareable, fl_ctx, abort_signal)
        except AbortedError as error:
            self.log_info(fl_ctx, str(error))
            return make_reply(ReturnCode.TASK_ABORTED)
        except RefusedError as error:
            self.log_error(fl_ctx, str(error), fire_event=False)
        except InputError as error:
            self._tell(fl_ctx, task_name, "it cannot be done", str(error))
        # A library's own exception may quote a path or a value of the data; FLARE would log it with its traceback.
        except Exception as error:
            self._tell(fl_ctx, task_name, f"an unexpected {type(error).__name__}", traceback.format_exc())
        return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def open_site(self, fl_ctx: FLContext) -> Site:
        """This site's settings, store and policy."""
        return open_site(fl_ctx.get_identity_name(), workspace_root(fl_ctx), self.require_site_config)

    def note(self, fl_ctx: FLContext, public: str, private: str) -> None:
        """Warn in FLARE's log with `public`, which names no path, and in the site's own with `private`."""
        self.log_warning(fl_ctx, public)
        write_site_log(workspace_root(fl_ctx), private)

    def say_refused(self, site: Site, refused: Mapping[str, str]) -> str:
        """One line of the refusals of a site's policy, see :meth:`flare_mri.deploy.policy.Policy.refusals`."""
        told = "; ".join(refused.values())
        return f"site {site.config.site}: refuses job {self.job!r:.80}, outside its policy: {told}"

    def _tell(self, fl_ctx: FLContext, task_name: str, public: str, private: str) -> None:
        site, root = fl_ctx.get_identity_name(), workspace_root(fl_ctx)
        where = f"the end of {LOG_FILE} in this site's FLARE folder says why"
        try:
            write_site_log(root, f"{task_name}: {'' if private.startswith('site ') else f'site {site}: '}{private}")
        except OSError as error:  # a full or read-only disk must not hide the error itself
            where = f"{LOG_FILE} in this site's FLARE folder cannot be written ({os.strerror(error.errno or 0)})"
        self.log_error(fl_ctx, f"site {site}: {task_name}: {public}; {where}", fire_event=False)


class ModelExecutor(SiteExecutor):
    """Carries out tasks that bring a model, and answers with one or with numbers.

    A job that the hospital's policy does not take part in is refused before any data are looked at; its ``check``
    answer then says by ``refused/...`` metrics what was refused, nothing else.
    """

    @abstractmethod
    def actions(self) -> Mapping[str, Action]:
        """The actions by name of a task, of :class:`~flare_mri.flare.protocol.TaskName`."""

    @abstractmethod
    def refusals(self, site: Site, model: FLModel) -> dict[str, str]:
        """Refusals of the site's policy for this job, see :meth:`flare_mri.deploy.policy.Policy.refusals`."""

    def task_names(self) -> Collection[str]:
        """Names of the actions."""
        return self.actions()

    def carry_out(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Read the message, ask the policy, act."""
        model = read_model(fl_ctx.get_identity_name(), shareable)
        site = self.open_site(fl_ctx)
        if refused := self.refusals(site, model):
            line = self.say_refused(site, refused)
            if task_name != TaskName.CHECK:
                raise RefusedError(line)
            self.log_error(fl_ctx, line, fire_event=False)
            answer = FLModel(metrics={f"refused/{name}": 1.0 for name in refused})
        else:
            answer = self.actions()[task_name](model, fl_ctx, abort_signal)
        answer.current_round, answer.total_rounds = model.current_round, model.total_rounds
        return FLModelUtils.to_shareable(answer)


def workspace_root(fl_ctx: FLContext) -> Path:
    """The site's FLARE folder."""
    return Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_ROOT) or os.getcwd())


def plain_network(network: Any) -> dict[str, Any]:
    """A network's settings as they came, where they are settings at all.

    Raises:
        InputError: they are none.
    """
    if not isinstance(network, dict):
        raise InputError(f"network: expected its settings, got a {type(network).__name__}; correct the job")
    return network
