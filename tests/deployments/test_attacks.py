# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs that attack hospitals and the server of a provisioned consortium, set up as the documentation tells.

Every attack ends before anything of it runs; an honest job of the same lead completes beside them.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import processes
from consortium import ADMIN, SERVER, Consortium
from demonstration import COMPLETED, SITE_YAML, SMALL, export

SITES = ["hospital-1", "hospital-2"]
PERSISTOR = "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor"
STREAMER = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
pytestmark = [pytest.mark.slow, pytest.mark.deploy]


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    root = tmp_path_factory.mktemp("attacked")
    made = Consortium(root / "c", SITES, provisioned=True, site_yaml=SITE_YAML, environment={"OMP_NUM_THREADS": "1"})
    # hospital-2's own policy would let the admins read its files: there, FLARE has no such commands left
    policy = made.kit(SITES[1]) / "local" / "authorization.json"
    policy.write_text(policy.read_text().replace('"shell_commands": "none"', '"shell_commands": "any"'))
    with made:
        yield made
    assert processes.find(root) == []


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("fedmri", tmp_path_factory.mktemp("honest"), *SMALL, "--clients", ",".join(SITES), "--no_code")


def changed(honest: Path, folder: Path, side: str, component: dict[str, Any], replaces: str = "") -> Path:
    """A copy of the honest job with one more component at the server or at the clients, or one in another's place."""
    job = folder / honest.name
    for path in honest.rglob("*.json"):
        target = job / path.relative_to(honest)
        target.parent.mkdir(parents=True, exist_ok=True)
        config = json.loads(path.read_text())
        if path.name == f"config_fed_{side}.json":
            config["components"] = [c for c in config["components"] if c["id"] != replaces] + [component]
        target.write_text(json.dumps(config))
    return job


def popen(mark: Path) -> dict[str, Any]:
    """Settings that a persistor takes for a network's, and that would run a command."""
    return {"path": "subprocess.Popen", "args": {"args": ["touch", str(mark)]}, "config_type": "dict"}


def through_persistor(name: str) -> Any:
    return lambda mark: {"id": "persistor", "path": name, "args": {"model": popen(mark)}}


def through_segment(mark: Path) -> dict[str, Any]:
    arguments = ["nowhere.safetensors", "--site", "site.yaml", "--out", str(mark)]
    return {"id": "segment", "path": "flare_mri.segment.main", "args": {"argv": arguments}}


def through_zip(mark: Path) -> dict[str, Any]:
    mark.parent.mkdir(parents=True, exist_ok=True)
    return {"id": "zip", "path": "flare_mri.files.ZipFile", "args": {"file": str(mark), "mode": "w"}}


def through_network(mark: Path) -> dict[str, Any]:
    args = {"network": popen(mark), "shared_layers": "encoder"}
    return {"id": "persistor", "path": "flare_mri.flare.components.SharedPartPersistor", "args": args}


ATTACKS = {
    "persistor at the server": ("server", through_persistor(PERSISTOR)),
    "persistor at the hospitals": ("client", through_persistor(PERSISTOR)),
    "persistor as an import of ours": (
        "client",
        through_persistor("flare_mri.flare.recipes.training.PTFileModelPersistor"),
    ),
    "persistor imported by our own": (
        "server",
        through_persistor("flare_mri.flare.workflows.persistor.ModelPersistor"),
    ),
    "our persistor with another class": ("server", through_network),
    "a function of ours": ("client", through_segment),
    "an import of a module of ours": ("client", through_zip),
}


@pytest.mark.parametrize("side, component", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_ends_before_it_runs(
    consortium: Consortium, honest: Path, tmp_path: Path, side: str, component: Any
) -> None:
    mark = tmp_path / "mark" / "was-here"
    part = component(mark)
    job = changed(honest, tmp_path, side, part, replaces="persistor" if part["id"] == "persistor" else "")
    number = consortium.submit(job)
    status = consortium.wait_for_end(number, 120)
    assert status != COMPLETED
    assert not mark.exists()
    folder = consortium.kit(SITES[0]) / "site_store" / "fedmri"
    assert not list(folder.rglob("round-*.pt")), "no hospital trained"
    if side == "client":
        log = (consortium.run_folder(SITES[0], number) / "log.txt").read_text()
        assert f"Component {part['path']!r}" in log and "is not in allow_list" in log


def test_an_honest_job_completes_beside_them(consortium: Consortium, honest: Path, tmp_path: Path) -> None:
    number = consortium.submit(honest)
    assert consortium.wait_for_end(number, 200) == COMPLETED
    workspace = consortium.download(number, tmp_path) / "workspace"
    assert (workspace / "app_server" / "FL_global_model.pt").exists() and (workspace / "results.json").exists()
    assert (consortium.kit(SITES[0]) / "site_store" / "fedmri" / SITES[0] / "personal.safetensors").exists()


def test_no_path_leaves_a_hospital_by_its_logs(consortium: Consortium, honest: Path, tmp_path: Path) -> None:
    """A folder named after a patient cannot be read, and the job asks for the log."""
    site_yaml = consortium.kit(SITES[1]) / "local" / "site.yaml"
    patient = tmp_path / "data" / "Doe_Jane_1950"
    (patient / "series").mkdir(parents=True)
    (patient / "series" / "000.dcm").write_bytes(b"no DICOM")
    site_yaml.write_text(f"data: {{format: dicom, root: {patient}}}\n")
    try:
        streamer = {"id": "streamer", "path": STREAMER, "args": {"log_file_name": "log.txt"}}
        number = consortium.submit(changed(honest, tmp_path / "job", "client", streamer))
        assert consortium.wait_for_end(number, 120) != COMPLETED
        consortium.download(number, tmp_path / "downloaded")
        folders = [tmp_path / "downloaded", consortium.kit(SERVER), consortium.folder / "jobs-storage"]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert any(b"not ready: hospital-2" in path.read_bytes() for path in files)
        assert not [path for path in files if b"Doe_Jane" in path.read_bytes()]
        assert b"Doe_Jane" not in b"".join(
            path.read_bytes() for path in consortium.run_folder(SITES[1], number).rglob("*.txt")
        )
        assert str(patient) in (consortium.kit(SITES[1]) / "flare_mri.log").read_text()
    finally:
        site_yaml.write_text(SITE_YAML)


def test_nobody_reads_a_hospital_s_files_by_flare_s_shell_commands(consortium: Consortium) -> None:
    """FLARE lets a project's admin run cat, grep and ls on the kits of all sites."""
    for site in SITES:
        (consortium.kit(site) / "flare_mri.log").write_text("/data/Doe_Jane_1950\n")
    with contextlib.closing(consortium.session(ADMIN)) as session:
        for site in SITES:
            for command in (f"cat {site} flare_mri.log", f"grep {site} Doe flare_mri.log", f"ls {site} -R ."):
                try:
                    told = str(session.api.do_command(command))
                except Exception as error:  # FLARE has a dozen for a refusal
                    told = str(error)
                assert "Doe_Jane" not in told and "site.yaml" not in told, told


def test_a_job_outside_the_policy_is_refused_at_both_ends(consortium: Consortium, tmp_path: Path) -> None:
    everything = ["--method", "FedAvg", "--clients", ",".join(SITES), "--no_code"]
    number = consortium.submit(export("fedmri", tmp_path, *SMALL, *everything))
    assert consortium.wait_for_end(number, 120) != COMPLETED
    log = (consortium.run_folder(SITES[0], number) / "log.txt").read_text()
    assert "refuses job 'fedmri', outside its policy: method FedAvg" in log
    consortium.download(number, tmp_path / "downloaded")
    told = next((tmp_path / "downloaded").rglob("error_log.txt")).read_text()
    assert "refused by hospital-1" in told and "FedAvg" in told
