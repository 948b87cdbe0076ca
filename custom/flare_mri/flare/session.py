# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A person's session with a running consortium: FLARE's own, its refusals as one line, its downloads checked."""

import contextlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nvflare.fuel.flare_api import api_spec
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.fuel.hci.client.file_transfer import FileTransferModule
from nvflare.fuel.hci.cmd_arg_utils import split_to_args
from nvflare.fuel.hci.proto import ProtoKey
from nvflare.tool.kit.kit_config import (
    StartupKitConfigError,
    resolve_admin_user_and_dir_from_startup_kit,
    resolve_startup_kit_dir,
)

from flare_mri.errors import InputError
from flare_mri.files import DEFLATE_RATIO

_REFUSALS: dict[type[Exception], str] = {
    api_spec.NoConnection: "see that the server runs",
    api_spec.SessionClosed: "the session ended, a job goes on without it; give the command again",
    api_spec.AuthenticationError: "give the startup kit of a person whom this consortium knows",
    api_spec.AuthorizationError: "ask the person who may, or the consortium's administrator",
    api_spec.InvalidJobDefinition: "correct the job",
    api_spec.JobNotFound: "",
    api_spec.JobNotDone: "wait for its end: flare-mri follow",
    api_spec.InternalError: "the server's log may say more",
    api_spec.NoReply: "the server's log may say more",
}
_MOST_FILES = 100_000


@contextlib.contextmanager
def open_session(startup_kit: Path | None) -> Iterator[Session]:
    """A session of the person of a startup kit; what FLARE refuses in the block becomes one line.

    Args:
        startup_kit: its folder; None is the one that FLARE knows, from ``nvflare config use`` or
            ``$NVFLARE_STARTUP_KIT_DIR``.

    Raises:
        InputError: no such kit, no connection, or a refusal.
    """
    try:
        user, kit = resolve_admin_user_and_dir_from_startup_kit(str(startup_kit or resolve_startup_kit_dir()))
    except StartupKitConfigError as error:
        told = f"--startup_kit {startup_kit}" if startup_kit else "--startup_kit not given"
        raise InputError(f"{told}: expected a person's startup kit: {error}; give the folder of yours") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # FLARE prints that it connects, at every attempt
            session = new_secure_session(user, kit, timeout=20.0)
        with contextlib.closing(session):
            yield session
    except tuple(_REFUSALS) as error:
        fix = next(fix for kind, fix in _REFUSALS.items() if isinstance(error, kind))
        if isinstance(error, api_spec.JobNotFound):
            raise InputError(f"{error}; nvflare job list --startup-kit {kit} shows the ids") from error
        raise InputError(f"--startup_kit {kit}: the server refused: {error}; {fix}") from error


def submit_job(session: Session, job: Path) -> str:
    """Submit a job folder and return the job's id; FLARE writes signatures into what it submits, so it gets a copy.

    Raises:
        InputError: no job lies there.
    """
    if not (job / "meta.json").is_file():
        raise InputError(f"{job}: expected the folder of a job, which holds meta.json, got none; export the job first")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / job.absolute().name
        shutil.copytree(job, copy, ignore=shutil.ignore_patterns("__pycache__"))
        return session.submit_job(str(copy))


def download_job(session: Session, job: str, folder: Path) -> Path:
    """Download what a finished job left at the server.

    FLARE's client takes names of files from the server and unpacks what comes; here both are looked at before.

    Args:
        session: of a person who may.
        job: its id.
        folder: an existing one, in which a folder of the job is made.

    Returns:
        The folder that was the run's at the server.

    Raises:
        InputError: a name that leads elsewhere, or an archive that is damaged or too large.
    """
    ask = session.api.do_command

    def ask_and_look(command: str, props: Any = None) -> Any:
        words = split_to_args(command)
        if words[0] == FileTransferModule.PULL_BINARY_FILE_CMD:
            for name in words[2:6]:
                if name in ("", ".", "..") or PurePosixPath(name).name != name or "\\" in name:
                    raise InputError(
                        f"job {job}: the server named a file {name!r:.160}, which is none; do not trust it"
                    )
        reply = ask(command, props)
        archive = reply.get(ProtoKey.APP_DATA)
        if words[0] == FileTransferModule.PULL_BINARY_FILE_CMD and archive:
            check_archive(Path(archive))
        return reply

    session.api.do_command = ask_and_look  # type: ignore[method-assign]
    try:
        found = Path(session.download_job_result(job, str(folder)))
    finally:
        session.api.do_command = ask  # type: ignore[method-assign]
    return found / "workspace"


def check_archive(path: Path) -> None:
    """Look at a zip file before it is unpacked; one that is refused is removed.

    Raises:
        InputError: no zip file, a member that would lie outside the folder or is no plain file, or more than fits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
    else:
        problem = _problem_of(path, members)
    if problem:
        path.unlink(missing_ok=True)
        raise InputError(f"{path.name}: expected a zip file of the job's results, got one that {problem}; try again")


def _problem_of(path: Path, members: list[zipfile.ZipInfo]) -> str:
    for member in members:
        kind = member.external_attr >> 28  # of st_mode: 0 unknown, 4 a folder, 8 a file
        place = PurePosixPath(member.filename)
        if place.is_absolute() or ".." in place.parts or "\\" in member.filename or kind not in (0, 4, 8):
            return f"holds {member.filename!r:.160}, which is no plain file in a folder"
    size, free = sum(member.file_size for member in members), shutil.disk_usage(path.parent).free
    if len(members) > _MOST_FILES or size > DEFLATE_RATIO * path.stat().st_size:
        return f"claims {len(members)} files of {size} bytes, which it cannot hold"
    return f"needs {size} bytes, of which {free} are free" if size > free else ""
