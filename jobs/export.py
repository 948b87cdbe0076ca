# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Export the job folders from the recipes: JSON from FLARE, code as relative links to the one package.

The links are single files: a linked *folder* arrives empty in FLARE's simulator. ``--check`` changes nothing and fails
where a folder differs from its recipe or a link is missing, stale or broken.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

JOBS = Path(__file__).parent.absolute()
PACKAGE = JOBS.parent / "custom" / "flare_mri"
NAMES = ["fedmri", "iopfl", "iopfl_outside"]
APP = "app"


def load_job(name: str) -> ModuleType:
    """The module ``jobs/<name>/job.py``."""
    spec = importlib.util.spec_from_file_location(f"jobs_{name}", JOBS / name / "job.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(name: str, arguments: Sequence[str] = ()) -> dict[Path, str]:
    """Relative path -> text of every JSON file of the job that `job.py` describes with `arguments`."""
    module = load_job(name)
    with tempfile.TemporaryDirectory() as folder:
        module.build_recipe(module._parse_args(["--no_code", *arguments])).export(folder)
        root = Path(folder) / name
        return {path.relative_to(root): _stable(path.read_text()) for path in sorted(root.rglob("*.json"))}


def _stable(text: str) -> str:
    """The same JSON in every process: FLARE lists a filter's tasks in the order of a set."""
    config = json.loads(text)
    for chain in config.get("task_result_filters", []) + config.get("task_data_filters", []):
        chain["tasks"].sort()
    return json.dumps(config, indent=2) + "\n"


def links(name: str) -> dict[Path, str]:
    """Relative path of every link in the job folder -> its relative target."""
    wanted = {}
    for source in sorted(PACKAGE.rglob("*.py")):
        link = Path(APP) / "custom" / "flare_mri" / source.relative_to(PACKAGE)
        wanted[link] = os.path.relpath(source, (JOBS / name / link).parent)
    return wanted


def differences(name: str) -> list[str]:
    """What `write` would change, a line each; empty where the folder is fresh."""
    root = JOBS / name
    found = []
    for path, text in exported(name).items():
        if not (root / path).is_file() or (root / path).read_text() != text:
            found.append(f"{name}/{path}: differs from the recipe")
    wanted = links(name)
    present = {path.relative_to(root) for path in root.rglob("*") if path.is_symlink()}
    found += [f"{name}/{path}: link is stale" for path in sorted(present - set(wanted))]
    for path, target in wanted.items():
        if path not in present or os.readlink(root / path) != target:
            found.append(f"{name}/{path}: link is missing or wrong")
    return found


def write(name: str) -> None:
    """Bring the folder of a job up to date."""
    root = JOBS / name
    for path in list(root.rglob("*")):
        if path.is_symlink():
            path.unlink()
    for path, text in exported(name).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path, target in links(name).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something is stale")
    args = parser.parse_args(argv)
    for name in NAMES:
        if not args.check:
            write(name)
    found = [line for name in NAMES for line in differences(name)]
    print("\n".join(found) or f"{len(NAMES)} job folders are what their recipes say")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
