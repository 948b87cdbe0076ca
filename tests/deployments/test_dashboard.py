# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE's dashboard as the documentation describes it, driven by HTTP: project, people, hospitals, kits, a job."""

import functools
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nvflare
import pytest

import kits
import processes
from demonstration import SITE_YAML, SMALL, export
from flare_mri.deploy import policies

ADMIN, LEAD, SITE = "admin@coordination.example", "lead@coordination.example", "hospital-1"
PIN = "kit4you"
pytestmark = [pytest.mark.slow, pytest.mark.deploy]


class Dashboard:
    """The requests of a browser."""

    def __init__(self, url: str, trusted: ssl.SSLContext | None = None):
        self.url, self.trusted = f"{url}/nvflare-dashboard", trusted

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(request, data, context=self.trusted) as answer:
            return answer.read()

    def login(self, email: str, password: str) -> str:
        return json.loads(self.ask("POST", "/api/v1/login", {"email": email, "password": password}))["access_token"]

    def kit(self, what: str, token: str, folder: Path) -> Path:
        """Download a startup kit, a zip file under a PIN, and unpack it with its rights."""
        folder.mkdir(parents=True)
        (folder / "kit.zip").write_bytes(self.ask("POST", f"/api/v1/{what}/blob", {"pin": PIN}, token))
        assert zipfile.is_zipfile(folder / "kit.zip")
        subprocess.run(["unzip", "-q", "-P", PIN, "kit.zip"], cwd=folder, check=True)
        return folder


CREDENTIAL = f"{ADMIN}:secret:coordination"


def _local_start(folder: Path, port: int) -> Dashboard:
    """`nvflare dashboard --local --start` from a copy of FLARE: it writes into the package that it is started from."""
    shutil.copytree(Path(nvflare.__file__).parent, folder / "nvflare", ignore=shutil.ignore_patterns("__pycache__"))
    program = Path(sys.executable).with_name("nvflare")
    command = [program, "dashboard", "--local", "--start", "--cred", CREDENTIAL, "-e", f"NVFL_WEB_PORT={port}"]
    _start(command, {"PYTHONPATH": str(folder)}, folder)
    return Dashboard(f"http://127.0.0.1:{port}")


def _served_from_a_folder(folder: Path, port: int) -> Dashboard:
    """`python -m nvflare.dashboard.wsgi`, with a certificate."""
    (folder / "cert").mkdir()
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", folder / "cert" / "web.key", "-out", folder / "cert" / "web.crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    settings = {"NVFL_WEB_ROOT": str(folder), "NVFL_WEB_PORT": str(port), "NVFL_CREDENTIAL": CREDENTIAL}
    _start([sys.executable, "-m", "nvflare.dashboard.wsgi"], settings, folder)
    trusted = ssl.create_default_context(cafile=str(folder / "cert" / "web.crt"))
    return Dashboard(f"https://localhost:{port}", trusted)


def _start(command: Sequence[str | Path], settings: dict[str, str], folder: Path) -> None:
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))


@pytest.fixture(params=[_served_from_a_folder, _local_start])
def dashboard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dashboard]:
    folder = tmp_path / "dashboard"
    folder.mkdir()
    try:
        found = request.param(folder, kits.free_port())
        _until(lambda: b"<html" in found.ask("GET", "/"), 60)
        assert list(folder.rglob(".db_init_done")), "its database is not in the folder"
        yield found
    finally:
        if (folder / "pid").exists():
            os.killpg(int((folder / "pid").read_text()), signal.SIGTERM)


def _until(look: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if look():
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.3)


@pytest.fixture
def consortium_kits(dashboard: Dashboard, tmp_path: Path) -> dict[str, Path]:
    """The documentation's steps: the project admin's, a lead's and a hospital's."""
    port = kits.free_port()
    admin = dashboard.login(ADMIN, "secret")
    project = {"short_name": "flare_mri", "title": "MRI", "server1": "localhost", "public": True}
    ports = {"server_props": {"fed_learn_port": port, "admin_port": port}}
    dashboard.ask("PATCH", "/api/v1/project", project | ports, admin)
    dashboard.ask("PATCH", "/api/v1/project", {"frozen": True}, admin)
    people = {LEAD: ("lead", "coordination"), "it@hospital-1.example": ("org_admin", "hospital_1")}
    numbers = {}
    for email, (role, org) in people.items():
        person = {"name": role, "email": email, "password": "own", "organization": org, "role": role}
        numbers[email] = json.loads(dashboard.ask("POST", "/api/v1/users", person))["user"]["id"]
        assert b"not approved" in dashboard.ask("POST", f"/api/v1/users/{numbers[email]}/blob", {"pin": PIN}, admin)
        dashboard.ask("PATCH", f"/api/v1/users/{numbers[email]}", {"approval_state": 100}, admin)
    it = dashboard.login("it@hospital-1.example", "own")
    hospital = {"name": SITE, "organization": "hospital_1"}
    site = json.loads(dashboard.ask("POST", "/api/v1/clients", hospital, it))["client"]
    dashboard.ask("PATCH", f"/api/v1/clients/{site['id']}", {"approval_state": 100}, admin)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        dashboard.ask("POST", "/api/v1/servers/1/blob", {"pin": PIN}, it)
    lead = dashboard.login(LEAD, "own")
    folder = tmp_path / "kits"
    return {
        "server": dashboard.kit("servers/1", admin, folder / "server"),
        SITE: dashboard.kit(f"clients/{site['id']}", it, folder / SITE),
        LEAD: dashboard.kit(f"users/{numbers[LEAD]}", lead, folder / LEAD),
    }


def test_kits_of_the_dashboard_run_a_job(consortium_kits: dict[str, Path], tmp_path: Path) -> None:
    environment = {**kits.environment(tmp_path), "OMP_NUM_THREADS": "1"}
    Path(environment["HOME"]).mkdir()
    policies.keep_jobs_in(consortium_kits["server"], tmp_path)
    started = []
    try:
        for name in ("server", SITE):
            kit = consortium_kits[name]
            policies.allow_package(kit)
            policies.restrict_rights(kit)
            (kit / "local" / "site.yaml").write_text(SITE_YAML)
            started.append(processes.start(kit, environment, tmp_path / f"{name}.out"))
        _until(lambda: "Successfully registered client:hospital-1" in (tmp_path / f"{SITE}.out").read_text(), 90)
        ask = functools.partial(console, consortium_kits[LEAD], environment)
        said = ask("check_status server", f"submit_job {export_small(tmp_path, 1)}")
        assert SITE in said
        number = job_id(said)
        _until(lambda: re.search(f"{number}.*FINISHED:COMPLETED", ask("list_jobs")), 120)
        ask(f"download_job {number}")
        assert next(consortium_kits[LEAD].rglob("results.json")).parts[-3] == number
        number = job_id(ask(f"submit_job {export_small(tmp_path, 500)}"))
        assert re.search(f"{number}.*(RUNNING|DISPATCHED|SUBMITTED)", ask("list_jobs"))
        ask(f"abort_job {number}", "y")  # it asks whether one is sure
        _until(lambda: re.search(f"{number}.*FINISHED:ABORTED", ask("list_jobs")), 60)
    finally:
        processes.end(tmp_path, started)
    assert processes.find(tmp_path) == []


def export_small(folder: Path, rounds: int) -> Path:
    return export("fedmri", folder, *SMALL, "--num_rounds", str(rounds), "--clients", SITE, "--no_code")


def job_id(said: str) -> str:
    found = re.search(r"Submitted job:? ([0-9a-f-]{36})", said)
    assert found, said
    return found[1]


def console(kit: Path, environment: dict[str, str], *commands: str) -> str:
    """FLARE's admin console: it asks who one is, then takes commands."""
    done = subprocess.run(
        [kit / "startup" / "fl_admin.sh"],
        input="\n".join([LEAD, *commands, "bye", ""]),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr
