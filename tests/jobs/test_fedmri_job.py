# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""jobs/fedmri through FLARE itself: job.py, the simulator, POC, and the form without code."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import flare_mri.reconstruct
from conftest import write_site
from flare_mri.atomic_file import atomic_file
from flare_mri.flare.recipes.staging import find_staged_differences, stage_code
from simulation import ALLOWED, NVFLARE, REPO, export_module, fails, load_script, prepare, run, small_copy

SITES = ["site-1", "site-2"]
SMALL = ["--num_rounds", "2", "--num_cascades", "2", "--channels", "4", "--num_pools", "2"]


def sites_of(results: Path) -> dict[str, Any]:
    entry = json.loads(results.read_text())["methods"]["FedMRI"]
    assert len(entry["rounds"]) == 2
    return {site: (values["test"], values["best"]) for site, values in entry["sites"].items()}


def test_job_folders_are_what_their_recipes_say() -> None:
    module = export_module()
    assert module.main(["--stage"]) == 0
    assert [line for name in module.NAMES for line in module.differences(name)] == []


def test_a_stale_copy_of_the_code_is_told_and_brought_up_to_date(tmp_path: Path) -> None:
    stage_code(tmp_path)
    assert find_staged_differences(tmp_path) == []
    staged = tmp_path / "app" / "custom" / "flare_mri"
    assert (staged / "report" / "templates" / "page.html").is_file(), "also what is no code"
    (staged / "wire.py").write_text("# old")
    (staged / "left_over.py").write_text("# of a version before")
    (staged / "errors.py").unlink()
    told = find_staged_differences(tmp_path)
    assert len(told) == 3 and any("left_over.py: not of the package" in line for line in told)
    with atomic_file(staged / "errors.py") as other:  # another process stages the same job
        other.write((Path(flare_mri.__file__).parent / "errors.py").read_bytes())
        stage_code(tmp_path)
    assert find_staged_differences(tmp_path) == [] and not (staged / "left_over.py").exists()


def test_git_tracks_no_copy_of_the_code() -> None:
    tracked = subprocess.run(["git", "ls-files", "jobs"], cwd=REPO, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git checkout")
    assert not [line for line in tracked.stdout.splitlines() if "/custom/" in line]


@pytest.fixture(scope="module")
def by_job_py(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Any]:
    """The reference: `python jobs/fedmri/job.py`, a process a site, stopped after a round and resumed."""
    root = tmp_path_factory.mktemp("jobpy")
    prepare(root / "fedmri", SITES, cache)
    job_py = [sys.executable, "jobs/fedmri/job.py", *SMALL, "--n_clients", "2", "--workspace", root]
    output = run(*job_py, "--num_rounds", "1")
    assert "Zero-filled" in output and "FedMRI" in output
    run(*job_py, "--resume", "fedmri")
    run_dir = root / "fedmri" / "server" / "simulate_job"
    assert (run_dir / "app_server" / "FL_global_model.pt").exists() and list((run_dir / "tb_events").iterdir())
    for site in SITES:
        store = root / "stores" / "fedmri" / site
        assert {"personal.safetensors", "examples.npz"} <= {p.name for p in store.iterdir()}
        assert len(list(store.glob("*/round-1.pt"))) == 1
    own, out = root / "stores" / "fedmri" / "site-1" / "personal.safetensors", root / "applied"
    settings = root / "fedmri" / "local" / "site-1" / "site.yaml"
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert flare_mri.reconstruct.main([str(own), "--site", str(settings), "--out", str(out)]) == 0
    assert (
        "subject-00_reconstruction.nii.gz: " in told.getvalue()
        and (out / "subject-02_reconstruction.nii.gz").exists()
        and (out / "overview.png").exists()
    )
    return sites_of(run_dir / "results.json")


@pytest.mark.slow
@pytest.mark.deploy
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_alone_ends_the_simulator_s_processes_too(
    tmp_path: Path, asked: signal.Signals
) -> None:
    """As of a batch system or `timeout`; FLARE starts the simulator in sessions of its own."""
    command = [sys.executable, "jobs/fedmri/job.py", *SMALL, "--num_rounds", "50", "--workspace", tmp_path]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=REPO,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in background
        )
    results, deadline = tmp_path / "fedmri" / "server" / "simulate_job" / "results.json", time.monotonic() + 180
    while not results.exists() or not json.loads(results.read_text())["methods"]["FedMRI"]["rounds"]:
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
        time.sleep(0.2)
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.send_signal(asked)
    assert process.wait(60) == 130
    assert not psutil.wait_procs(started, timeout=20)[1]
    told = (tmp_path / "log").read_text()
    assert "Traceback" not in told and told.splitlines()[-1] == "stopped"


def unpack_tree(folder: Path) -> Path:
    """The tracked files as they stand here, by way of a zip file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    with zipfile.ZipFile(folder / "tree.zip", "w") as archive:
        for name in filter(None, listed.stdout.split("\0")):
            if (REPO / name).exists():  # not one that the work tree has just lost
                archive.write(REPO / name, name)
    with zipfile.ZipFile(folder / "tree.zip") as archive:
        archive.extractall(folder / "tree")
    return folder / "tree"


@pytest.mark.slow
@pytest.mark.parametrize("threads", [pytest.param("1", marks=pytest.mark.deploy), "2"])
def test_a_zip_of_the_tree_runs_in_the_simulator(
    threads: str, by_job_py: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    """Unpacked elsewhere, without git, staged and made small; one site at a time (-t 1) gives the same numbers."""
    tree = unpack_tree(tmp_path)
    run(sys.executable, "jobs/export.py", "--stage", cwd=tree, PYTHONPATH=str(tree / "custom"))
    job = tree / "jobs" / "fedmri"
    package, staged = (
        {p.relative_to(root) for p in (root / "flare_mri").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        for root in (tree / "custom", job / "app" / "custom")
    )
    assert staged == package and len(staged) > 100
    for path, text in export_module().export_texts("fedmri", [*SMALL, "--n_clients", "2"]).items():
        (job / path).write_text(text)
    workspace = prepare(tmp_path / "w", SITES, cache)
    simulator = [NVFLARE, "simulator", job, "-w", workspace, "-c", ",".join(SITES), "-t", threads]
    run(*simulator, cwd=tmp_path, PYTHONPATH="")
    assert sites_of(workspace / "server" / "simulate_job" / "results.json") == by_job_py


@pytest.mark.slow
def test_form_without_code_runs_where_the_site_lists_the_classes(
    by_job_py: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    job_py = ["jobs/fedmri/job.py", *SMALL, "--n_clients", "2", "--no_code"]
    run(sys.executable, *job_py, "--export", "--export-dir", tmp_path / "exported")
    job = tmp_path / "exported" / "fedmri"
    assert not list(job.rglob("custom")) and not list(job.rglob("*.py"))
    simulator = [NVFLARE, "simulator", job, "-c", ",".join(SITES), "-t", "2"]
    listed = prepare(tmp_path / "listed", SITES, cache, ALLOWED)
    run(*simulator, "-w", listed, cwd=tmp_path)
    assert sites_of(listed / "server" / "simulate_job" / "results.json") == by_job_py
    refused = prepare(tmp_path / "refused", SITES, cache, ["nvflare.app_common.workflows.fedavg.FedAvg"])
    output = run(*simulator, "-w", refused, cwd=tmp_path, check=False)
    assert "flare_mri" in output and "is not in allow_list" in output
    assert not (refused / "server" / "simulate_job" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.deploy
def test_poc_takes_the_folder_by_job_submit(by_job_py: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    poc = tmp_path / "poc"
    env = {"NVFLARE_POC_WORKSPACE": str(poc), "HOME": str(tmp_path)}  # FLARE writes to ~/.nvflare
    job = small_copy(tmp_path, "fedmri", [*SMALL, "--n_clients", "2"])
    run(NVFLARE, "poc", "prepare", "-c", *SITES, **env)
    kits = poc / "example_project" / "prod_00"
    for site in SITES:
        write_site(tmp_path / site, cache)
        shutil.copy(tmp_path / site / "local" / "site.yaml", kits / site / "local" / "site.yaml")
    started = subprocess.Popen(
        [NVFLARE, "poc", "start"], env={**os.environ, **env, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
    )
    try:
        started.wait(timeout=120)
        run(NVFLARE, "job", "submit", "-j", job, **env)
        found = wait_for(lambda: finished(kits), seconds=240)
        assert sites_of(found) == by_job_py
        (kits / "site-2" / "local" / "privacy.json").write_text(json.dumps(policy_without_tensors()))
        run(NVFLARE, "job", "submit", "-j", job, **env)
        blocked = wait_for(lambda: blocked_at(kits / "site-2"), seconds=120)
        assert "nothing was sent" in blocked and "may leave: no tensor" in blocked
    finally:
        run(NVFLARE, "poc", "stop", check=False, **env)


def policy_without_tensors() -> dict[str, Any]:
    """The privacy.json of docs/reference/wire-and-disk.md, made to let no tensor pass."""
    text = (REPO / "docs" / "reference" / "wire-and-disk.md").read_text()
    policy = json.loads(re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)[0])
    policy["scopes"][0]["task_result_filters"][0]["args"]["allowed"] = []
    return policy


def blocked_at(site: Path) -> str | None:
    for path in site.rglob("log.txt"):
        for line in path.read_text(errors="replace").splitlines():
            if "result blocked" in line:
                return line
    return None


def finished(kits: Path) -> Path | None:
    for path in kits.glob("server/*/results.json"):
        entry = json.loads(path.read_text())["methods"]["FedMRI"]
        if all("test" in site for site in entry["sites"].values()) and entry["rounds"]:
            return path
    return None


def wait_for(look: Any, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing after {seconds:.0f} s")


MISTAKES = {
    "two sites of one name": (["--clients", "a,b,a"], "site name 'a' comes twice"),
    "unknown method": (["--method", "FedMagic"], "invalid choice: 'FedMagic'"),
    "empty sites folder": (["--sites", "docs"], "no <site>/site.yaml in it"),
    "white space in the workspace": (["--workspace", "/tmp/my folder"], "takes no path with white space"),
    "too few sites": (["--n_clients", "2", "--min_sites", "5"], "there are 2 sites"),
    "a consortium": (["--env", "prod"], "argument --env: a consortium that runs is given a job by flare-mri submit"),
    "no site.yaml where one is required": (["--require_site_config"], "site site-1: no site.yaml"),
    "negative rate": (["--lr", "-1"], "lr: expected a number > 0 and <= 1, got -1.0"),
    "no batch norm": (["--method", "FedBN"], "shared_layers 'all_but_norm'"),
}


@pytest.fixture
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("arguments, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_costs_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals: None,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, "argv", ["job.py", *arguments])
    try:
        status = load_script("jobs/fedmri/job.py").main()
    except SystemExit as error:  # the parser's own
        status = error.code
    assert status == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_bad_data_costs_one_line_and_status_2_before_flare_starts(tmp_path: Path) -> None:
    (tmp_path / "hospital").mkdir()
    (tmp_path / "hospital" / "site.yaml").write_text("data: {format: nifti, root: ./missing}\n")
    told = fails(sys.executable, "jobs/fedmri/job.py", "--sites", tmp_path, "--workspace", tmp_path / "w")
    assert told.startswith("error: site 'hospital'") and "root" in told and "missing" in told
