# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The package's code in a job folder, for ``nvflare simulator`` and ``nvflare job submit`` without an installation."""

from pathlib import Path

import flare_mri
from flare_mri.atomic_file import final_name, write_atomically

_PACKAGE = Path(flare_mri.__file__).parent


def staged_folder(job: Path) -> Path:
    """The folder in which FLARE looks for a job's own code."""
    return job / "app" / "custom" / _PACKAGE.name


def stage_code(job: Path) -> None:
    """Bring the copy of the package in a job folder up to date; git ignores it.

    Args:
        job: the folder that holds ``meta.json`` and ``app/config``.

    Raises:
        InputError: the folder cannot be written to.
    """
    target = staged_folder(job)
    wanted = _contents(_PACKAGE)
    for name in _files(target):
        if (target / name).is_symlink() or name not in wanted:
            (target / name).unlink()
    for name, content in wanted.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)


def find_staged_differences(job: Path) -> list[str]:
    """Files of the copy that are not the package's, a line each; empty where the copy is fresh and complete."""
    target = staged_folder(job)
    wanted = _contents(_PACKAGE)
    present = _contents(target)
    return [
        f"{job.name}: {target / name}: {'not of the package' if name not in wanted else 'stale or missing'}"
        for name in sorted(wanted.keys() | present.keys())
        if wanted.get(name) != present.get(name)
    ]


def _files(folder: Path) -> list[Path]:
    """All files of a package, but what Python itself leaves there and what another process is just writing."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return [name for name in found if "__pycache__" not in name.parts and final_name(name.name) is None]


def _contents(folder: Path) -> dict[Path, bytes]:
    return {name: (folder / name).read_bytes() for name in _files(folder)}
