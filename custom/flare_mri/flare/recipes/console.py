# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a simulated job prints: this package's progress, and of FLARE and all others warnings and errors alone."""

import copy
import json
import os
from pathlib import Path

from nvflare.apis.fl_constant import WorkspaceConstants
from nvflare.fuel.utils.log_utils import FL_LOG_LEVEL, concise_log_dict

from flare_mri.atomic_file import write_atomically

_OURS = {
    "()": "nvflare.fuel.utils.log_utils.LoggerNameFilter",  # lets through what is above INFO, whoever says it
    "logger_names": ["flare_mri"],
    # by these FLARE's base of our controllers says that it sends a task, or saves the model, at every step
    "exclude_logger_names": ["PersonalizedFedAvg", "RouteOutside", "GatherStatistics"],
}


def configure_console(folder: Path) -> str:
    """Write FLARE's log configuration of a simulated job; its log files hold everything, as FLARE has them.

    FLARE's own mode `concise` prints what its controllers and executors say at every step, too.

    Args:
        folder: of the job in the workspace.

    Returns:
        What ``SimEnv`` takes as ``log_config``: the file, or what ``$FL_LOG_LEVEL`` says instead.
    """
    if wanted := os.environ.get(FL_LOG_LEVEL):
        return wanted
    config = copy.deepcopy(concise_log_dict)
    config["filters"]["ours"] = _OURS
    config["handlers"]["consoleHandler"]["filters"] = ["ours"]
    path = folder.absolute() / "local" / WorkspaceConstants.LOGGING_CONFIG
    write_atomically(path, json.dumps(config, indent=1))
    return str(path)
