# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""README and docs: every command is run, here made small or in the test that is named; links, paths, tables hold."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flare_mri import __version__
from flare_mri.config.site import SiteSettings, load_site_config
from flare_mri.io.formats import FORMATS
from flare_mri.methods import METHODS, describe_methods, methods_of
from flare_mri.transforms.augmentation import TASK_TRANSFORMS

REPO = Path(__file__).parents[1]
DATA = Path(os.environ.get("FLARE_MRI_DATA", REPO.parent / "shared" / "data"))
SMALL = "--num_rounds 1 --channels 4 --num_pools 2"
WHOLE_VOLUMES = "python benchmarks/hippocampus_segmentation.py --seeds 0 --channels 16 --methods IOP-FL"
PAPERS = "python jobs/fedmri/job.py --network UNet --optimizer rmsprop --lr 3e-4 --lr_schedule step"
PAPERS += " --lr_gamma 0.1 --loss mse"
RUN_HERE = {
    "make demo": "python jobs/demo.py --methods centralised FedMRI --num_rounds 1 --channels 4 --n_clients 2",
    PAPERS: f"{PAPERS} {SMALL}",
    "python benchmarks/brain_reconstruction.py": "python benchmarks/brain_reconstruction.py --methods local-only "
    "--num_rounds 1 --channels 4",
    "python benchmarks/brain_reconstruction.py --network UnrolledNetwork --augmentation": "python "
    "benchmarks/brain_reconstruction.py --network UnrolledNetwork --augmentation --methods FedMRI --num_rounds 1 "
    "--channels 4",
    "python benchmarks/contrastive_cost.py": "python benchmarks/contrastive_cost.py --steps 1 --channels 4 "
    "--spatial_size 32",
    "python benchmarks/privacy_cost.py": "python benchmarks/privacy_cost.py --settings 4 --num_rounds 1 --channels 4",
    "python benchmarks/privacy_cost.py --dp reconstruction": "python benchmarks/privacy_cost.py --dp reconstruction "
    "--settings 4 --num_rounds 1 --channels 4",
    "python benchmarks/privacy_cost.py --dp segmentation": "python benchmarks/privacy_cost.py --dp segmentation "
    "--settings 4 --num_rounds 1 --channels 4",
    "python benchmarks/raw_reconstruction.py": "python benchmarks/raw_reconstruction.py --classical --methods FedMRI "
    "--num_rounds 1",
    "python benchmarks/sharing.py": "python benchmarks/sharing.py --num_rounds 1 --channels 4 --images 4 "
    "--shared_layers encoder --final_local_rounds 1",
    "python benchmarks/traffic.py": "python benchmarks/traffic.py --settings 7 --num_rounds 2 --channels 4",
    "make demo-iopfl": "python jobs/demo.py iopfl --methods IOP-FL --num_rounds 1 --channels 4 --n_clients 2",
    "python benchmarks/hippocampus_segmentation.py --slices labelled": "python benchmarks/hippocampus_segmentation.py "
    f"--slices labelled --seeds 0 --methods IOP-FL --epochs 1 {SMALL}",
    WHOLE_VOLUMES: f"{WHOLE_VOLUMES.replace('--channels 16', '')} --epochs 1 {SMALL}",
    "python benchmarks/loaders.py": "python benchmarks/loaders.py --turns 1 --size 32 --subjects 4",
    "python benchmarks/routed_forward.py": "python benchmarks/routed_forward.py --batch 2 --size 32 --repeats 1",
}
RUN_EXACTLY = {
    "python jobs/fedmri/job.py": "tests/jobs/test_fedmri_job.py",
    "python jobs/fedmri/job.py --method FedAvg": "jobs/demo.py",  # which is run here, with other methods
    "python jobs/fedmri/job.py --sites examples/brain": "benchmarks/brain_reconstruction.py",  # which is run here
}
RUN_ELSEWHERE = {  # these and all that begin so
    "python benchmarks/sharing.py --unseen": "tests/benchmarks/test_sharing.py",
    "python benchmarks/late_joiner.py": "tests/benchmarks/test_sharing.py",
    "nvflare simulator": "tests/jobs/test_fedmri_job.py",
    "nvflare poc prepare": "tests/jobs/test_fedmri_job.py",
    "nvflare poc start": "tests/jobs/test_fedmri_job.py",
    "nvflare job submit": "tests/jobs/test_fedmri_job.py",
    "nvflare poc stop": "tests/jobs/test_fedmri_job.py",
    "python jobs/fedmri/job.py --no_code --export": "tests/jobs/test_fedmri_job.py",
    "python benchmarks/measured_scan.py": "tests/benchmarks/test_measured_scan.py",
    "python benchmarks/new_scan.py": "tests/benchmarks/test_measured_scan.py",
    "python benchmarks/beyond_the_organ.py": "tests/benchmarks/test_beyond_the_organ.py",
    "flare-mri report": "tests/report/test_command.py",
    "flare-mri compare": "tests/program/test_compare.py",
    "flare-mri submit": "tests/deployments/test_provisioned.py",
    "flare-mri follow": "tests/deployments/test_provisioned.py",
    "flare-mri results": "tests/deployments/test_provisioned.py",
    "flare-mri segment": "tests/inference/test_segment_command.py",
    "flare-mri segment personal.safetensors --site site.yaml --watch": "tests/inference/test_watch.py",
    "flare-mri segment personal.safetensors --site site.yaml --scans series --dicom": "tests/inference/"
    "test_dicom_output.py",
    "flare-mri segment personal.safetensors --site site.yaml --dicom_node": "tests/inference/test_dicom_node.py",
    "flare-mri reconstruct": "tests/inference/test_reconstruction.py",
    "pip install 'flare-mri[dicom]'": "pyproject.toml",
    "flare-mri statistics": "tests/jobs/test_site_statistics_job.py",
    "flare-mri route": "tests/inference/test_route.py",
    "python benchmarks/quality_estimate.py": "tests/benchmarks/test_quality_estimate.py",
    "python benchmarks/contrast_check.py": "tests/benchmarks/test_quality_estimate.py",
    "flare-mri export": "tests/bundle/test_bundle.py",
    'pip install "monai[fire,ignite,nibabel]"': "requirements.txt",
    "python -m monai.bundle run": "tests/bundle/test_bundle.py",
    "python jobs/iopfl/job.py": "tests/jobs/test_iopfl_job.py",
    "flare-mri train fedmri --sites sites": "tests/test_tutorials.py",
    "flare-mri train iopfl --sites sites": "tests/test_tutorials.py",
    'pip install "flare-mri[raw]"': "pyproject.toml",
    "pip install --require-hashes -r requirements.lock": "tests/test_supply_chain.py",
    "pip install --no-deps dist/flare_mri-": "tests/test_wheel.py",
    "python jobs/iopfl_outside/job.py": "tests/jobs/test_iopfl_job.py",  # and by demo-iopfl
    "python jobs/fedmri/job.py --resume": "tests/jobs/test_fedmri_job.py",
    "python jobs/fedmri/job.py --n_clients 40 --sites_per_round": "tests/flare/workflows/test_many_sites.py",
    "python benchmarks/many_sites.py": "tests/benchmarks/test_many_sites.py",
    "python benchmarks/fixed_cost.py": "tests/benchmarks/test_fixed_cost.py",
    "python poc/soak.py": "tests/deployments/test_soak.py",
    "flare-mri-policies": "tests/deployments/test_provisioned.py",
    "flare-mri site init": "tests/program/test_site_init.py",
    "flare-mri site check site.yaml": "tests/program/test_site_check.py",
    "flare-mri site check": "tests/deployments/test_provisioned.py",
    "kit/startup/": "tests/deployments/test_provisioned.py",
    "nvflare system disable-client": "tests/deployments/test_provisioned.py",
    "nvflare system status": "tests/deployments/test_provisioned.py",
    "nvflare provision": "tests/deployments/test_provisioned.py",
    "export KIT=": "tests/deployments/test_provisioned.py",
    "python benchmarks/segmentation_tables.py": "tests/benchmarks/test_runs.py",
    "nvflare job": "tests/deployments/test_provisioned.py",
    "nvflare dashboard --local --start": "tests/deployments/test_dashboard.py",
    "export NVFL_WEB_ROOT=": "tests/deployments/test_dashboard.py",
    "python -m nvflare.dashboard.wsgi": "tests/deployments/test_dashboard.py",
}
NEEDS_DATA = (
    "--dp segmentation",
    "examples/brain",
    "brain_reconstruction",
    "hippocampus",
    "raw_reconstruction",
    "sharing",
)
IN_TEST_DEPLOY = (  # which take minutes
    PAPERS,
    "python benchmarks/raw_reconstruction.py",
    "python benchmarks/brain_reconstruction.py",
    "python benchmarks/hippocampus_segmentation.py --slices labelled",
    WHOLE_VOLUMES,
    "python benchmarks/privacy_cost.py",
    "python benchmarks/privacy_cost.py --dp reconstruction",
    "python benchmarks/privacy_cost.py --dp segmentation",
    "python benchmarks/sharing.py",
    "python benchmarks/brain_reconstruction.py --network UnrolledNetwork --augmentation",
)


PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
PACKAGE = REPO / "custom" / "flare_mri"
README, FIGURES = REPO / "README.md", REPO / "docs" / "explanation" / "figures.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    without_comments = [line.split("#")[0].strip() for line in lines]
    return list(dict.fromkeys(line for line in without_comments if line))


def section(page: Path, title: str) -> str:
    return re.split(r"^## ", page.read_text().split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]


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


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_paths_of_the_code_exist(page: Path) -> None:
    """Paths in the repository, and files of the package as pages name them: from it, or from its folder `routing`."""
    for name in re.findall(r"`([\w./-]+)`", page.read_text()):
        if name.startswith(("custom/", "tests/", "docs/", "jobs/", "poc/", "examples/", "benchmarks/")):
            assert (REPO / name).exists(), f"{page.name} names {name}"
        elif name.endswith(".py") and name != "job.py":
            found = [(folder / name).exists() for folder in (REPO, PACKAGE, PACKAGE / "routing")]
            assert any(found), f"{page.name} names {name}"


def test_pages_are_reached_from_the_index() -> None:
    index = REPO / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)\s]+)\)", index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - {index} <= listed


def test_tables_of_methods_are_those_of_the_code() -> None:
    page = (REPO / "docs" / "reference" / "methods.md").read_text()
    assert all(describe_methods(task) in page for task in ("reconstruction", "segmentation"))
    for method in METHODS.values():
        assert all(f"`--{option}`" in page for option in method.options.model_fields), method.name
    rows = [line.split(" | ") for line in section(README, "Methods").splitlines() if line.startswith("| `")]
    tasks = {row[0].strip("| `"): row[2] for row in rows}
    assert tasks.keys() == METHODS.keys()
    for name, method in METHODS.items():
        assert tasks[name] == (method.tasks[0] if len(method.tasks) == 1 else "both")
    assert len(methods_of("segmentation")) == sum(task != "reconstruction" for task in tasks.values())


def test_options_beside_the_published_ones_exist() -> None:
    reference = REPO / "docs" / "reference"
    known = set(re.findall(r"^\| `(\w+)` \|", (reference / "settings.md").read_text(), flags=re.MULTILINE))
    known |= set(re.findall(r"`--(\w+)", (reference / "command-lines.md").read_text()))
    lines = (reference / "published-options.md").read_text().splitlines()
    cells = [line.split(" | ")[1] for line in lines if " | " in line]
    ours = {option for cell in cells for option in re.findall(r"--(?:no-)?(\w+)", cell)}
    keys = {key for cell in cells for key in re.findall(r"`(?:data\.)?([a-z_]+)(?=[:`])", cell)}
    assert len(ours) > 20 and ours <= known and keys <= known | {"mask"}


def test_keys_of_site_yaml_are_told() -> None:
    shown = blocks(REPO / "docs" / "reference" / "site-yaml.md", "yaml")[0]
    keys = {name for entry in FORMATS.values() for name in entry.options.model_fields}
    assert set(yaml.safe_load(shown)["data"]) == keys and set(yaml.safe_load(shown)) >= set(SiteSettings.model_fields)


def test_random_transforms_are_told() -> None:
    page = (REPO / "docs" / "how-to" / "own-data.md").read_text()
    for task, transforms in TASK_TRANSFORMS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {task} |"))
        assert re.findall(r"`(\w+)`", row) == list(transforms)


@pytest.mark.parametrize("page", [README, REPO / "docs" / "how-to" / "own-data.md"], ids=lambda page: page.name)
def test_the_site_yaml_that_is_shown_is_read(page: Path, tmp_path: Path) -> None:
    shown = next(block for block in blocks(page, "yaml") if block.startswith("data:"))
    (tmp_path / "site.yaml").write_text(shown.replace("/data/brain", str(tmp_path)))
    config = load_site_config(tmp_path / "site.yaml", "site-1")
    assert config.data.format == "dicom" and config.data.spatial_size == (128, 128)


def test_figures_of_the_readme_are_those_of_the_full_tables() -> None:
    full = FIGURES.read_text()
    cells = [cell.strip(" *") for line in section(README, "Figures").splitlines() for cell in line.split("|")[2:-1]]
    numbers = [cell for cell in cells if re.match(r"\d", cell)]
    assert len(numbers) > 10 and all(f"| {n} |" in full or f"| **{n}** |" in full for n in numbers)


def test_citation_and_hooks() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and {"title", "message", "authors"} <= citation.keys()
    assert [entry["year"] for entry in citation["references"]] == [2022, 2023]
    assert citation["version"] == __version__
    assert f"\n## {__version__}, {citation['date-released']}\n" in (REPO / "CHANGELOG.md").read_text()
    repos = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]
    assert [entry["repo"] for entry in repos] == ["local"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=[pytest.mark.deploy] if c in IN_TEST_DEPLOY else []) for c in RUN_HERE]
)
def test_command_made_small(command: str, tmp_path: Path) -> None:
    small = RUN_HERE[command]
    if any(word in small for word in NEEDS_DATA) and not (DATA / "brain").is_dir():
        pytest.skip(f"no real data at {DATA}")
    words = [sys.executable, *shlex.split(small)[1:]]
    if not any(word in small for word in ("contrastive", "routed", "loaders")):
        words += ["--workspace", str(tmp_path / "w")]
    if "demo" in small:
        words += ["--output", str(tmp_path / "out")]
    environment = {**os.environ, "FLARE_MRI_DATA": str(DATA.resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, env=environment, timeout=550)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    if command == "make demo":
        page = (tmp_path / "out" / "report.html").read_text()
        assert all(
            word in page for word in ("Zero-filled", "CG-SENSE", "l1-ESPIRiT", "centralised", "FedMRI", "site-2")
        )
        assert "<img" in page and "http://" not in page.replace("http://www.w3.org", "")
    if command == "make demo-iopfl":
        page = (tmp_path / "out" / "report.html").read_text()
        assert all(word in page for word in ("IOP-FL (personal)", "matched mix", "outside-1", "<img"))
