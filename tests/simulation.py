# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Whole jobs through FLARE: what the tests of ``jobs/`` share."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import write_site
from flare_mri.deploy.policy import SERVER_CLASSES, SITE_CLASSES
from flare_mri.flare.recipes.staging import stage_code

REPO = Path(__file__).parents[1]
NVFLARE = str(Path(sys.executable).parent / "nvflare")
ALLOWED = [*SITE_CLASSES, *SERVER_CLASSES]


def load_script(path: str) -> Any:
    """The module of a script in the repository, e.g. ``jobs/export.py``."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), REPO / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def export_module() -> Any:
    return load_script("jobs/export.py")


def run(*command: str | Path, cwd: Path = REPO, check: bool = True, **env: str) -> str:
    """Runs a command; returns what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output[-3000:]
    return output


def fails(*command: str | Path, **env: str) -> str:
    """Runs a command that must end with status 2; returns the one line that says why."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-3000:]
    return done.stderr.splitlines()[-1]


def prepare(workspace: Path, sites: list[str], cache: Path, allowed: list[str] | None = None) -> Path:
    """A simulator workspace whose sites have small data; with `allowed` also a site's class_allow_list."""
    for site in sites:
        write_site(workspace / "local" / site, cache)
        shutil.move(workspace / "local" / site / "local" / "site.yaml", workspace / "local" / site / "site.yaml")
    if allowed is not None:
        policy = {"format_version": 2, "class_allow_list": allowed}
        (workspace / "local" / "resources.json").write_text(json.dumps(policy))
    return workspace


def small_copy(root: Path, name: str, arguments: list[str]) -> Path:
    """The job folder as it stands in a checkout, code included, with the settings that `arguments` give."""
    stage_code(REPO / "jobs" / name)
    job = root / "checkout" / "jobs" / name
    shutil.copytree(REPO / "jobs" / name, job)
    for path, text in export_module().export_texts(name, arguments).items():
        (job / path).write_text(text)
    return job
