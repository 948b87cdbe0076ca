# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The console of a simulated job, by FLARE's own reader of log configurations; a whole job is in tests/jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

from flare_mri.flare.recipes.console import _OURS, configure_console
from flare_mri.flare.workflows.controller import SiteController
from flare_mri.flare.workflows.outside import RouteOutside
from flare_mri.flare.workflows.personalized_fedavg import PersonalizedFedAvg
from flare_mri.flare.workflows.statistics import GatherStatistics

_SPEAK = """
import logging, sys
from nvflare.fuel.utils.log_utils import dynamic_log_config
dynamic_log_config(sys.argv[1], sys.argv[2], sys.argv[1])
for name in ("flare_mri.flare.workflows.controller", "flare_mri.x.PersonalizedFedAvg",
             "nvflare.app_common.workflows.x.Controller", "nvflare.private.y", "matplotlib"):
    for level in ("INFO", "WARNING", "ERROR"):
        logging.getLogger(name).log(getattr(logging, level), f"{level} of {name}")
"""


def test_ours_and_warnings_are_printed_and_all_is_filed(tmp_path: Path) -> None:
    config = configure_console(tmp_path / "job")
    done = subprocess.run([sys.executable, "-c", _SPEAK, config, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = [line.rpartition(" - ")[2] for line in done.stdout.splitlines()]
    filed = [line.rpartition(" - ")[2] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert len(filed) == 15 and not done.stderr
    assert said == [line for line in filed if not line.startswith("INFO") or line.endswith("workflows.controller")]


def test_every_controller_of_ours_is_silent_but_for_what_it_tells() -> None:
    ours = (PersonalizedFedAvg, RouteOutside, GatherStatistics)
    assert {*SiteController.__subclasses__()} <= {*ours}
    assert {kind.__name__ for kind in ours} == set(_OURS["exclude_logger_names"])


def test_who_wants_more_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_LOG_LEVEL", "full")
    assert configure_console(tmp_path) == "full" and not list(tmp_path.iterdir())
