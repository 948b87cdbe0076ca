# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Startup kits for a consortium on one machine, made by FLARE's own commands from ``project.yml``."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).with_name("project.yml")
RELAY = "relay-1"


def environment(folder: Path) -> dict[str, str]:
    """This process's environment for a consortium in `folder`: FLARE's settings of this user stay as they are.

    FLARE writes to ``~/.nvflare``, and its kits start the ``python3`` that comes first.
    """
    own = {
        "HOME": str(folder / "home"),
        "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NVFL_")}
    return {**inherited, **own}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def project(sites: Sequence[str], port: int, relay_port: int = 0) -> dict[str, Any]:
    """``project.yml`` with these hospitals, the server listening on this port; they come in by a relay on the other."""
    described = yaml.safe_load(PROJECT.read_text())
    others = [who for who in described["participants"] if who["type"] != "client"]
    for who in others:
        if who["type"] == "server":
            who.update(fed_learn_port=port, admin_port=port)
    hospitals: list[dict[str, Any]] = [{**describe_site(name)} for name in sites]
    if relay_port:
        listens = {"scheme": "tcp", "default_host": "localhost", "port": relay_port, "connection_security": "mtls"}
        others.append({"name": RELAY, "type": "relay", "org": "coordination", "listening_host": listens})
        for hospital in hospitals:
            hospital["connect_to"] = {"name": RELAY}
    described["participants"] = [*others, *hospitals]
    return described


def describe_site(name: str) -> dict[str, str]:
    """The project's entry of a hospital, an organisation of its own."""
    return {"name": name, "type": "client", "org": re.sub(r"\W", "_", name)}


def prepare(
    folder: Path, sites: Sequence[str], provisioned: bool, environment: Mapping[str, str], relay: bool = False
) -> Path:
    """Make the kits of a consortium.

    Args:
        folder: where, empty or absent.
        sites: names of the hospitals.
        provisioned: by ``nvflare provision``, as between institutions, instead of ``nvflare poc prepare``.
        environment: see :func:`environment`.
        relay: the hospitals come in by a relay.

    Returns:
        The folder that holds a kit of every participant.

    Raises:
        FileExistsError: the folder has something in it.
        RuntimeError: FLARE's command failed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: expected an empty folder for the consortium; remove it or choose another")
    Path(environment["HOME"]).mkdir(parents=True)
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(project(sites, free_port(), free_port() if relay else 0), sort_keys=False))
    if provisioned:
        nvflare(environment, "provision", "-p", path, "-w", folder / "workspace")
    else:
        nvflare(environment, "poc", "prepare", "-i", path)
    return _newest(folder / ("workspace" if provisioned else "poc"))


def add_site(folder: Path, kits: Path, name: str, provisioned: bool, environment: Mapping[str, str]) -> None:
    """Add the kit of a further hospital to `kits`, signed by the same authority.

    Raises:
        RuntimeError: FLARE's command failed.
    """
    entry = describe_site(name)
    if not provisioned:
        nvflare(environment, "poc", "add-site", name, "--org", entry["org"])
        return
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(entry))
    workspace = folder / "workspace"
    nvflare(environment, "provision", "-p", folder / "project.yml", "-w", workspace, "--add-client", path, "--force")
    shutil.copytree(_newest(workspace) / name, kits / name)  # it made everyone's kit anew; only this one is needed


def nvflare(environment: Mapping[str, str], *arguments: str | Path) -> str:
    """Run the ``nvflare`` command and return what it printed.

    Raises:
        RuntimeError: it failed.
    """
    command = [str(Path(sys.executable).with_name("nvflare")), *map(str, arguments)]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"nvflare {arguments[0]} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout + done.stderr


def _newest(workspace: Path) -> Path:
    """FLARE numbers what it provisions: ``<project>/prod_00``, ``prod_01``, ..."""
    return max(workspace.glob("*/prod_*"), key=lambda path: int(path.name.split("_")[1]))
