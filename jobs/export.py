# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Export the job folders from the recipes: JSON from FLARE, and a copy of the package's code, which git ignores.

``--stage`` brings the copy of the code up to date and leaves the JSON as it is; ``--check`` changes nothing and fails
where a folder's JSON differs from its recipe or its copy of the code from the package.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from flare_mri.flare.recipes.staging import find_staged_differences, stage_code

JOBS = Path(__file__).parent.absolute()
NAMES = ["fedmri", "iopfl", "iopfl_outside", "site_statistics"]
ARGUMENTS = {"site_statistics": ["--min_sites", "2"]}
"""Of the folders that differ from what job.py does alone: before training nobody knows how many sites there are."""


def load_job(name: str) -> ModuleType:
    """The module ``jobs/<name>/job.py``."""
    spec = importlib.util.spec_from_file_location(f"jobs_{name}", JOBS / name / "job.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def export_texts(name: str, arguments: Sequence[str] = ()) -> dict[Path, str]:
    """Relative path -> text of every JSON file of the job that `job.py` describes with `arguments`."""
    module = load_job(name)
    with tempfile.TemporaryDirectory() as folder:
        module.build_recipe(module.parse_args(["--no_code", *arguments])).export(folder)
        root = Path(folder) / name
        return {path.relative_to(root): _stable(path.read_text()) for path in sorted(root.rglob("*.json"))}


def _stable(text: str) -> str:
    """The same JSON in every process: FLARE lists a filter's tasks in the order of a set."""
    config = json.loads(text)
    for chain in config.get("task_result_filters", []) + config.get("task_data_filters", []):
        chain["tasks"].sort()
    return json.dumps(config, indent=2) + "\n"


def differences(name: str) -> list[str]:
    """The changes `write` would make, a line each; empty where the folder is fresh."""
    root = JOBS / name
    found = []
    for path, text in export_texts(name, ARGUMENTS.get(name, ())).items():
        if not (root / path).is_file() or (root / path).read_text() != text:
            found.append(f"{name}/{path}: differs from the recipe")
    return found + find_staged_differences(root)


def write(name: str) -> None:
    """Bring the folder of a job up to date."""
    for path, text in export_texts(name, ARGUMENTS.get(name, ())).items():
        (JOBS / name / path).parent.mkdir(parents=True, exist_ok=True)
        (JOBS / name / path).write_text(text)
    stage_code(JOBS / name)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something is stale")
    parser.add_argument("--stage", action="store_true", help="bring the code up to date, not the JSON")
    args = parser.parse_args(argv)
    if args.stage:
        for name in NAMES:
            stage_code(JOBS / name)
        return 0
    for name in NAMES:
        if not args.check:
            write(name)
    found = [line for name in NAMES for line in differences(name)]
    print("\n".join(found) or f"{len(NAMES)} job folders are what their recipes say")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
