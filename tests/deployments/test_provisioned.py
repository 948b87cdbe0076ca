# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A provisioned consortium without the right to bring code: `make provisioned`, and the documentation's commands."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

import kits
import processes
from consortium import ADMIN, LEAD, SERVER, Consortium
from demonstration import SITE_YAML, SMALL, export
from flare_mri.deploy import policies
from flare_mri.deploy.policy import SERVER_CLASSES, SITE_CLASSES
from flare_mri.networks import build_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space

REPO = Path(__file__).parents[2]
SITES = ["hospital-1", "hospital-2"]
pytestmark = [pytest.mark.slow, pytest.mark.deploy]


def test_make_provisioned(tmp_path: Path) -> None:
    command = [sys.executable, "poc/run_provisioned.py", "--output", tmp_path / "out", "--workspace", tmp_path / "w"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=595)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "fedmri FINISHED:COMPLETED" in done.stdout and "FedMRI" in (tmp_path / "out" / "fedmri.html").read_text()
    assert re.search("a job with code in it: FINISHED:FAILED_TO_RUN\n.*BYOC not permitted", done.stdout)
    assert re.search("a job with a class that the hospitals do not list: .*\n.*subprocess.Popen", done.stdout)
    assert "a job submitted by a member: user not authorized" in done.stdout
    assert processes.find(tmp_path) == []


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """Two hospitals that forbid code under a server that does not."""
    root = tmp_path_factory.mktemp("provisioned")
    made = Consortium(root / "c", SITES, provisioned=True, site_yaml=SITE_YAML, environment={"OMP_NUM_THREADS": "1"})
    (made.kit(SERVER) / "local" / "authorization.json").unlink()
    with made:
        yield made
    assert processes.find(root) == []


def nvflare(consortium: Consortium, *arguments: str | Path, user: str = LEAD) -> str:
    """The command as a person types it, with the person's startup kit."""
    return kits.nvflare(consortium.environment, *arguments, "--startup-kit", consortium.kit(user))


def job_id(printed: str) -> str:
    found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed)
    assert found, printed
    return found[0]


def flare_mri(consortium: Consortium, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of the program, as a lead gives it; FLARE's own folder of this user is not looked at."""
    words = [sys.executable, "-m", "flare_mri", command, *arguments, "--startup_kit", consortium.kit(LEAD)]
    return subprocess.run(
        [*map(str, words)], cwd=REPO, env=consortium.environment, capture_output=True, text=True, timeout=300
    )


def submit(consortium: Consortium, *arguments: str | Path) -> str:
    """Submits without code; returns the id, which is all that stands on stdout."""
    done = flare_mri(consortium, "submit", arguments[0], "--no_code", *arguments[1:])
    assert done.returncode == 0 and done.stdout.strip() == job_id(done.stdout), done.stdout + done.stderr
    return done.stdout.strip()


def test_a_lead_learns_of_a_misspelt_hospital(consortium: Consortium) -> None:
    words = ["submit", "fedmri", "--no_code", *SMALL, "--clients", "hospital-1,hospital-x"]
    done = flare_mri(consortium, *words)
    assert done.returncode == 2 and not done.stdout and done.stderr.startswith("error: not connected"), done.stderr
    assert consortium.jobs() == {}
    done = flare_mri(consortium, *words, "--absent_ok")
    assert "not connected to the server: hospital-x; connected: hospital-1, hospital-2" in done.stderr, done.stderr
    number = job_id(done.stdout)
    consortium.abort(number)
    assert "ABORT" in consortium.wait_for_end(number, 60)
    done = flare_mri(consortium, "submit", "fedmri")
    assert done.returncode == 2 and "which sites? name them with --clients" in done.stderr
    done = flare_mri(consortium, "follow", "00000000-0000-0000-0000-000000000000")
    assert done.returncode == 2 and "no such job" in done.stderr and done.stderr.count("\n") == 1


def test_a_hospital_refuses_code_that_the_server_would_take(consortium: Consortium, tmp_path: Path) -> None:
    job = export("fedmri", tmp_path, *SMALL, "--clients", ",".join(SITES))
    number = job_id(nvflare(consortium, "job", "submit", "-j", job))
    assert consortium.wait_for_end(number, 60) == "FINISHED:FAILED_TO_RUN"
    detail = consortium.ask(lambda session: session.get_job_meta(number))["job_deploy_detail"]
    assert "server: OK" in detail
    for site in SITES:
        assert f"{site}: NVFLARE_ERROR: BYOC not permitted" in detail
        assert not list(consortium.run_folder(site, number).rglob("*.py"))
        assert not (consortium.kit(site) / "site_store").exists()


def test_a_lead_submits_follows_and_takes_the_results(consortium: Consortium, tmp_path: Path) -> None:
    """The program's commands, then FLARE's own of the documentation."""
    number = submit(consortium, "fedmri", *SMALL, "--clients", ",".join(SITES))
    told = flare_mri(consortium, "follow", number, "--every", "1")
    assert told.returncode == 0 and "fedmri: FINISHED:COMPLETED" in told.stdout, told.stdout + told.stderr
    assert "fedmri round  1/3" in told.stdout and "mean training loss" in told.stdout
    assert number in nvflare(consortium, "job", "list")
    assert "hospital-1" in nvflare(consortium, "system", "status")
    out = tmp_path / "results"
    taken = flare_mri(consortium, "results", number, "--out", out)
    assert taken.returncode == 0 and "FedMRI" in taken.stdout, taken.stderr
    assert (out / "results.json").is_file() and (out / "app_server" / "FL_global_model.pt").is_file()
    assert list(tmp_path.iterdir()) == [out], "nothing beside the folder"
    again = flare_mri(consortium, "results", number, "--out", out)
    assert again.returncode == 2 and "expected a new or empty folder" in again.stderr
    config = consortium.kit("hospital-1") / number / "app_hospital-1" / "config" / "config_fed_client.json"
    assert '"require_site_config": true' in config.read_text()
    scores = next((consortium.kit("hospital-1") / "site_store" / "fedmri").glob("*/*/volume_scores.json"))
    kept = json.loads(scores.read_text())["rows"]["FedMRI"]
    site = json.loads((out / "results.json").read_text())["methods"]["FedMRI"]["sites"]["hospital-1"]
    assert statistics.fmean(one["psnr"] for one in kept.values()) == pytest.approx(site["test"]["psnr"])
    nvflare(consortium, "job", "download", number, "-o", tmp_path / "download")
    assert next((tmp_path / "download").rglob("results.json"))

    long = export("fedmri", tmp_path, *SMALL, "--num_rounds", "500", "--clients", ",".join(SITES), "--no_code")
    before = {path: path.read_bytes() for path in long.rglob("*") if path.is_file()}
    number = flare_mri(consortium, "submit", long).stdout.strip()
    assert {path: path.read_bytes() for path in long.rglob("*") if path.is_file()} == before, "FLARE signs a copy"
    consortium.job_pid("hospital-1", number)
    nvflare(consortium, "job", "abort", number, "--force")
    assert "ABORT" in consortium.wait_for_end(number, 60)


def test_a_hospital_that_is_not_ready(consortium: Consortium, tmp_path: Path) -> None:
    """The reason reaches the lead without a path; the line to correct stands at the hospital."""
    path = consortium.kit("hospital-2") / "local" / "site.yaml"
    path.write_text("data: {format: dicom, root: /nowhere/patients}\n")
    try:
        number = submit(consortium, "fedmri", *SMALL, "--clients", ",".join(SITES))
        told = flare_mri(consortium, "follow", number)
        assert told.returncode == 4 and "FINISHED:EXECUTION_EXCEPTION" in told.stdout, told.stdout + told.stderr
        assert "  not ready: hospital-2; " in told.stdout and "/nowhere" not in told.stdout
        nvflare(consortium, "job", "download", number, "-o", tmp_path)
        log = next(tmp_path.rglob("error_log.txt")).read_text()
        assert "not ready: hospital-2" in log and "/nowhere" not in log
        assert "/nowhere" not in (consortium.run_folder("hospital-2", number) / "error_log.txt").read_text()
        assert "/nowhere/patients" in (consortium.kit("hospital-2") / "flare_mri.log").read_text()
    finally:
        path.write_text(SITE_YAML)


def test_routing_for_one_hospital(consortium: Consortium, tmp_path: Path) -> None:
    """The command of docs/how-to/outside-hospital.md: a routing space on the server, a hospital that did not train."""
    network = {"path": "flare_mri.networks.unet.UNet", "args": {"in_channels": 3, "out_channels": 2, "channels": 4}}
    network["args"] |= {"num_pools": 2, "norm": "batch"}
    experts = {name: build_network(network, seed).state_dict() for seed, name in enumerate(["a", "b", GLOBAL])}
    save_routing_space(tmp_path / "space.safetensors", RoutingSpace(network, experts))
    routing = ["--routing_space", str(tmp_path / "space.safetensors"), "--epochs", "1"]
    number = submit(consortium, "iopfl_outside", *routing, "--clients", "hospital-2")
    assert consortium.wait_for_end(number, 120) == "FINISHED:COMPLETED"
    assert (consortium.kit("hospital-2") / "site_store" / "iopfl_outside").is_dir()
    assert not (consortium.kit("hospital-1") / "site_store" / "iopfl_outside").exists()


def test_two_consortia_do_not_meet(consortium: Consortium, tmp_path: Path) -> None:
    """Also under FLARE's default port in project.yml: every consortium has its own."""
    with Consortium(tmp_path / "other", ["hospital-1"], provisioned=True) as other:
        other.wait_until_connected(["hospital-1"])
        assert other.jobs() == {}
        assert consortium.kit(SERVER) != other.kit(SERVER)
    consortium.wait_until_connected(SITES)


def test_hospital_it_starts_and_leaves_as_the_documentation_says(consortium: Consortium) -> None:
    """`start.sh`, and `stop_fl.sh`, which asks and is answered y."""
    name = "hospital-3"
    consortium.add_site(name)
    kit = consortium.kit(name)
    check = [sys.executable, "-m", "flare_mri", "site", "check", kit]
    done = subprocess.run(check, env=consortium.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "jobs without code: admitted" in done.stdout, done.stdout + done.stderr
    environment = {**consortium.environment, processes.MARK: str(kit)}
    with (kit / "console.txt").open("w") as console:
        subprocess.run(
            [kit / "startup" / "start.sh"], env=environment, stdout=console, stderr=console, check=True, timeout=30
        )

    def connected() -> bool | None:
        clients = consortium.ask(lambda session: session.get_connected_client_list())
        return any(client.name == name for client in clients) or None

    consortium.wait_for(connected, 60, f"connection of {name}")
    subprocess.run([kit / "startup" / "stop_fl.sh"], input="y", text=True, env=environment, check=True, timeout=30)
    consortium.wait_for(lambda: None if processes.find(kit) else True, 60, f"end of {name}")
    nvflare(consortium, "system", "disable-client", name, "--force", user=ADMIN)
    consortium.start(name)
    consortium.wait_for_log(name, "registration rejected: Client 'hospital-3' is disabled", 60)


def test_policies_are_written_once_and_keep_what_a_hospital_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Consortium(tmp_path / "c", ["a"], provisioned=True)
    local = made.kit("a") / "local"
    names = ("resources.json", "authorization.json", "flare_mri.yaml", "privacy.json")
    before = {name: (local / name).read_text() for name in names}
    assert policies.main([str(made.kit("a"))]) == 0
    assert {name: (local / name).read_text() for name in before} == before
    resources = json.loads(before["resources.json"])
    assert resources["class_allow_list"] == list(SITE_CLASSES) and resources["allow_log_streaming"] is False
    server = json.loads((made.kit(SERVER) / "local" / "resources.json").read_text())
    assert server["class_allow_list"] == list(SERVER_CLASSES)
    assert not (made.kit(SERVER) / "local" / "flare_mri.yaml").exists()

    resources["class_allow_list"] = ["flare_mri.", "their.own.Class", *DEFAULT_CLASS_ALLOW_LIST]
    (local / "resources.json").write_text(json.dumps(resources))
    assert policies.main([str(made.kit("a")), "--methods", "FedMRI,IOP-FL"]) == 0
    assert json.loads((local / "resources.json").read_text())["class_allow_list"] == [*SITE_CLASSES, "their.own.Class"]
    assert "shared_layers: [encoder, all]" in (local / "flare_mri.yaml").read_text()
    privacy = json.loads((local / "privacy.json").read_text())
    assert [f["args"] for f in privacy["scopes"][0]["task_result_filters"]] == [{"allowed": ["*"]}]

    assert policies.main([str(made.kit(SERVER)), "--jobs_in", str(tmp_path / "jobs")]) == 0
    assert str(tmp_path / "jobs" / "jobs-storage") in (made.kit(SERVER) / "local" / "resources.json").read_text()
    capsys.readouterr()
    for arguments, told in (
        ([made.kit("a"), "--jobs_in", tmp_path], "--jobs_in is for a server's kit"),
        ([tmp_path], "give the folder of a site's startup kit"),
    ):
        assert policies.main(list(map(str, arguments))) == 2
        assert told in capsys.readouterr().err
    for content, told in (("{", "not valid JSON"), ("{}", "expected FLARE 2.9's class_allow_list, got none")):
        (local / "resources.json").write_text(content)
        assert policies.main([str(made.kit("a"))]) == 2 and told in capsys.readouterr().err
        assert (local / "resources.json").read_text() == content
