# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The wheel alone, as a hospital installs it: an environment that knows nothing of the repository runs the main job."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import flare_mri

REPO = Path(__file__).parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools builds in place, and takes up what an earlier build left there."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(REPO / "custom", source / "custom", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    words = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", "dist", "."]
    run(sys.executable, "-m", "pip", *words, cwd=source)
    (made,) = (source / "dist").iterdir()
    return made


def test_the_wheel_holds_the_whole_package(wheel: Path) -> None:
    package = Path(flare_mri.__file__).parent
    files = [path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()]
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {str(path) for path in files if "__pycache__" not in path.parts}


@pytest.mark.slow
def test_the_main_job_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """The environment finds the dependencies of this one, but not what is installed here as editable."""
    environment, folder = tmp_path / "env", tmp_path / "a folder"
    folder.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel]
    run(sys.executable, "-m", "pip", "--python", environment / "bin" / "python", *install, cwd=folder)
    program = environment / "bin" / "flare-mri"
    assert run(program, "--version", cwd=folder).split() == ["flare-mri", flare_mri.__version__]
    where = run(environment / "bin" / "python", "-c", "import flare_mri; print(flare_mri.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(site_packages)

    small = ["--num_rounds", "1", "--channels", "4", "--num_pools", "2", "--n_clients", "2"]
    told = run(program, "train", "fedmri", *small, "--workspace", tmp_path / "work", cwd=folder)
    (results,) = (tmp_path / "work").rglob("results.json")
    assert str(results) in told
    assert json.loads(results.read_text())["methods"]["FedMRI"]["sites"].keys() == {"site-1", "site-2"}
    assert len(list((tmp_path / "work" / "stores").rglob("personal.safetensors"))) == 2
    run(program, "report", results, "--stores", tmp_path / "work" / "stores", "--out", "report.html", cwd=folder)
    assert "FedMRI" in (folder / "report.html").read_text()
