# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The lock file is of one mind with the requirements; the container file copies what is there, and is not root."""

import re
import tomllib
from pathlib import Path

from flare_mri import __version__

REPO = Path(__file__).parents[1]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, tuple[str, int]]:
    """Name -> version and number of hashes of every package in requirements.lock."""
    entries = re.split(r"^(?=\w)", (REPO / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    heads = [re.match(r"([\w.-]+)==(\S+)", entry) for entry in entries]
    return {
        normalised(head[1]): (head[2], entry.count("--hash=sha256:"))
        for head, entry in zip(heads, entries, strict=True)
        if head
    }


def test_the_lock_holds_what_is_developed_with() -> None:
    lock = locked()
    assert len(lock) > 60 and all(hashes > 0 for _, hashes in lock.values())
    runtime = (REPO / "requirements.txt").read_text().split("# Development")[0]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", runtime, flags=re.MULTILINE))
    assert len(pinned) > 15
    assert all(lock.get(normalised(name), (version,))[0] == version for name, version in pinned.items())


def test_the_lock_holds_all_that_the_package_asks_for() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    chosen = re.findall(r"--extra (\w+)", (REPO / "Makefile").read_text())
    wanted = project["dependencies"] + [name for key in chosen for name in project["optional-dependencies"][key]]
    assert len(chosen) > 2
    names = [re.match(r"[\w.-]+", requirement) for requirement in wanted]
    assert {normalised(name[0]) for name in names if name} <= locked().keys()


def test_the_container_file() -> None:
    folder = REPO / "poc" / "containers"
    text = (folder / "Dockerfile").read_text()
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", text, flags=re.MULTILINE)).split()
    let_in = re.findall(r"^!(.*)$", (folder / "Dockerfile.dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(copied) == sorted(let_in) and all((REPO / name).exists() for name in copied)
    assert "--require-hashes" in text and re.search(r"^ARG BASE=python:3\.\d+\.\d+-\S+$", text, flags=re.MULTILINE)
    last_stage = text.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER [1-9]\d*", last_stage, flags=re.MULTILINE) and "pip install" not in last_stage
    assert f"flare-mri:{__version__}" in text
