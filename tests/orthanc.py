# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Orthanc, a real DICOM node with DICOMweb and a password: a process of a test, which stores in the test's folder."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, PASSWORD = "flare", "not-a-secret"
_PLUGINS = [Path(folder, "libOrthancDicomWeb.so") for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")]


@dataclass(frozen=True)
class Orthanc:
    """A running node.

    Attributes:
        port: of loopback.
    """

    port: int

    @property
    def url(self) -> str:
        """Its DICOMweb address."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def rest(self, path: str, content: bytes | None = None) -> bytes:
        """What Orthanc's own interface, which the package does not use, answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _password(self.port))
        with opener.open(request, timeout=30) as answer:
            return bytes(answer.read())

    def send(self, folder: Path) -> None:
        """Stores the files of a folder."""
        for path in folder.iterdir():
            self.rest("/instances", path.read_bytes())

    def series(self) -> dict[str, dict[str, str]]:
        """Tags of all series that it holds, by Series Instance UID."""
        found = [json.loads(self.rest(f"/series/{number}")) for number in json.loads(self.rest("/series"))]
        return {one["MainDicomTags"]["SeriesInstanceUID"]: {**one["MainDicomTags"], **one} for one in found}


def _password(port: int) -> urllib.request.HTTPBasicAuthHandler:
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, f"http://127.0.0.1:{port}/", USER, PASSWORD)
    return urllib.request.HTTPBasicAuthHandler(known)


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Starts it on a free port and ends it; skips the test where Debian's orthanc-dicomweb is not installed."""
    binary = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    plugin = next((path for path in _PLUGINS if path.exists()), None)
    if binary is None or plugin is None:
        pytest.skip("Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)")
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomServerEnabled": False,
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
        try:
            node = Orthanc(port)
            _wait(node, process, folder / "log")
            yield node
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(node: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            node.rest("/system")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError(log.read_text())


def write_netrc(path: Path) -> None:
    """Name and password, as a hospital keeps them for the node."""
    path.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    os.chmod(path, 0o600)
