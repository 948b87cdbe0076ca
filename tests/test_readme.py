# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Every command of the README is run: here, made small, or in the test that is named here."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
DATA = Path(os.environ.get("FLARE_MRI_DATA", REPO.parent / "shared" / "data"))
SMALL = "--num_rounds 1 --channels 4 --num_pools 2"
RUN_HERE = {
    "make demo": "python jobs/demo.py --num_rounds 1 --channels 4",
    "python jobs/fedmri/job.py --method FedAvg": f"python jobs/fedmri/job.py --method centralised {SMALL}",
    "python benchmarks/brain_reconstruction.py": "python benchmarks/brain_reconstruction.py --methods local-only "
    "--num_rounds 1 --channels 4",
    "python benchmarks/contrastive_cost.py": "python benchmarks/contrastive_cost.py --steps 1 --channels 4 "
    "--spatial_size 32",
    "python benchmarks/privacy_cost.py": "python benchmarks/privacy_cost.py --settings 4 --num_rounds 1 --channels 4",
    "make demo-iopfl": "python jobs/demo.py iopfl --num_rounds 1 --channels 4",
    "python benchmarks/hippocampus_segmentation.py": "python benchmarks/hippocampus_segmentation.py --seeds 0 "
    f"--methods IOP-FL --epochs 1 {SMALL}",
    "python benchmarks/routed_forward.py": "python benchmarks/routed_forward.py --batch 2 --size 32 --repeats 1",
}
RUN_EXACTLY = {
    "python jobs/fedmri/job.py": "tests/jobs/test_fedmri_job.py",
    "python jobs/fedmri/job.py --sites examples/brain": "benchmarks/brain_reconstruction.py",  # which is run here
}
RUN_ELSEWHERE = {  # these and all that begin so
    "nvflare simulator": "tests/jobs/test_fedmri_job.py",
    "nvflare poc prepare": "tests/jobs/test_fedmri_job.py",
    "nvflare poc start": "tests/jobs/test_fedmri_job.py",
    "nvflare job submit": "tests/jobs/test_fedmri_job.py",
    "nvflare poc stop": "tests/jobs/test_fedmri_job.py",
    "python jobs/fedmri/job.py --no_code --export": "tests/jobs/test_fedmri_job.py",
    "python -m flare_mri.report": "tests/report/test_html.py",
    "python -m flare_mri.apply": "tests/inference/test_segmentation.py",
    "python jobs/iopfl/job.py": "tests/jobs/test_iopfl_job.py",
    "python jobs/iopfl_outside/job.py": "tests/jobs/test_iopfl_job.py",  # and by demo-iopfl
    "python jobs/fedmri/job.py --resume": "tests/jobs/test_fedmri_job.py",
    "python benchmarks/soak.py": "tests/deployments/test_soak.py",
    "python poc/policies.py": "tests/deployments/test_provisioned.py",
    "python -m flare_mri.deploy.check": "tests/deployments/test_provisioned.py",
    "kit/startup/": "tests/deployments/test_provisioned.py",
    "nvflare system disable-client": "tests/deployments/test_provisioned.py",
    "nvflare system status": "tests/deployments/test_provisioned.py",
    "nvflare provision": "tests/deployments/test_provisioned.py",
    "export KIT=": "tests/deployments/test_provisioned.py",
    "python jobs/fedmri/job.py --no_code --env prod": "tests/deployments/test_provisioned.py",
    "nvflare job": "tests/deployments/test_provisioned.py",
    "nvflare dashboard --local --start": "tests/deployments/test_dashboard.py",
    "export NVFL_WEB_ROOT=": "tests/deployments/test_dashboard.py",
    "python -m nvflare.dashboard.wsgi": "tests/deployments/test_dashboard.py",
}
NEEDS_DATA = ("examples/brain", "brain_reconstruction", "hippocampus")


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (REPO / "README.md").read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_command_is_run_somewhere() -> None:
    for command in commands():
        elsewhere = [path for start, path in RUN_ELSEWHERE.items() if command.startswith(start)]
        elsewhere += [path for whole, path in RUN_EXACTLY.items() if command == whole]
        assert command in RUN_HERE or elsewhere or command.startswith("make "), f"no test runs {command!r}"
        assert all((REPO / path).exists() for path in elsewhere)
    assert {*RUN_HERE, *RUN_EXACTLY} <= set(commands())


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run([*command.split(), "-n"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN_HERE)
def test_command_made_small(command: str, tmp_path: Path) -> None:
    small = RUN_HERE[command]
    if any(word in small for word in NEEDS_DATA) and not (DATA / "brain").is_dir():
        pytest.skip(f"no real data at {DATA}")
    words = [sys.executable, *shlex.split(small)[1:]]
    if "contrastive" not in small and "routed" not in small:
        words += ["--workspace", str(tmp_path / "w")]
    if "demo" in small or "privacy" in small:
        words += ["--output", str(tmp_path / "out")]
    environment = {**os.environ, "FLARE_MRI_DATA": str(DATA.resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, env=environment, timeout=550)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    if command == "make demo":
        page = (tmp_path / "out" / "report.html").read_text()
        assert all(word in page for word in ("Zero-filled", "local-only", "FedAvg", "FedMRI", "site-4"))
        assert "<img" in page and "http://" not in page.replace("http://www.w3.org", "")
    if command == "make demo-iopfl":
        page = (tmp_path / "out" / "report.html").read_text()
        assert all(word in page for word in ("local-only", "IOP-FL (personal)", "IOP-FL routing", "outside-1", "<img"))
