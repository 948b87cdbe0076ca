# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Check of the policies in a hospital's kit: they let in, and out, no more than they should."""

import importlib.util
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.app_common.logging.constants import ALLOW_LOG_STREAMING_VAR
from nvflare.app_common.widgets.component_path_authorizer import (
    CLASS_ALLOW_LIST,
    CLASS_LIST_ENFORCEMENT_MODE,
    ClassListEnforcementMode,
)

import flare_mri
from flare_mri.deploy.policy import NO_SHELL, PIN, POLICY_FILE, SERVER_CLASSES, SITE_CLASSES, find_policy
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.folders import check_own_folder

_MOST_BYTES = 2**20
_FIX = "write it anew with flare-mri-policies"
_BUILDS_ANYTHING = "PTFileModelPersistor"
_OURS = f"{flare_mri.__name__}."
_COMPONENTS = {*SITE_CLASSES, *SERVER_CLASSES, NO_SHELL["path"]}


def check_policies(kit: Path, site: str) -> dict[str, Any]:
    """Read what a hospital's ``local`` folder admits.

    Args:
        kit: the hospital's startup kit.
        site: its name, for messages.

    Returns:
        In plain values: whether jobs without and with code are admitted, the policy, and what the pinned filter lets
        leave.

    Raises:
        InputError: other users may write to the kit; FLARE streams this site's logs to the server; the list of classes
            admits more than single classes, or FLARE's persistor, which builds any class that a job names; a policy
            names a class that this version of the package does not have, as one of an earlier version may; or there is
            no policy.
    """
    _check_owner(kit)
    resources = _read(kit, "resources.json")
    _check_log_streaming(kit, resources)
    if NO_SHELL not in (resources.get("components") or []):
        raise InputError(
            f"{kit}/local/resources.json: components: expected {NO_SHELL['path']}, got none: a server could read this "
            f"machine's files by FLARE's shell commands; {_FIX}"
        )
    for component in resources["components"]:
        _check_known(f"{kit}/local/resources.json: components", component)
    listed = _check_classes(kit, resources)
    policy = find_policy(kit / "local", site)
    if policy is None:
        raise InputError(
            f"site {site}: no {POLICY_FILE} in {kit}/local: any method, network and optimizer would be admitted; {_FIX}"
        )
    rights = _read(kit, "authorization.json")
    reading = _find_roles(rights, "shell_commands")
    if reading:
        raise InputError(
            f"{kit}/local/authorization.json: shell_commands: expected none, got rights of {', '.join(reading)}: they "
            f"can read this kit's files, its log among them; {_FIX}"
        )
    coders, pinned = _find_roles(rights, "byoc"), _read_pinned(kit)
    return {
        "jobs without code": "admitted"
        if set(SITE_CLASSES) <= listed
        else f"refused: class_allow_list lacks ours, {_FIX}",
        "jobs with code": f"admitted from {', '.join(coders)}: they may run anything here" if coders else "refused",
        "takes part in": {name: list(values) for name, values in vars(policy).items()},
        "pinned filter": "none: a job's own filter decides" if pinned is None else ", ".join(pinned) or "no weights",
    }


def _check_owner(kit: Path) -> None:
    """Whatever FLARE reads or runs of the kit at its start must be this user's, and nobody else's to change."""
    for folder in (kit, kit / "startup", kit / "local"):
        check_own_folder(folder, "kit")
    for path in [*(kit / "startup").rglob("*"), *(kit / "local").rglob("*")]:
        state = path.lstat()
        shared = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(state.st_mode)
        if shared or state.st_uid != os.geteuid():
            raise InputError(
                f"{path}: expected a file of user {os.geteuid()} that no other may write to, got one of user "
                f"{state.st_uid} with mode {stat.S_IMODE(state.st_mode):o}; chown and chmod go-w the kit"
            )


def _check_log_streaming(kit: Path, resources: Mapping[str, Any]) -> None:
    if resources.get(ALLOW_LOG_STREAMING_VAR) is not False:
        raise InputError(
            f"{kit}/local/resources.json: {ALLOW_LOG_STREAMING_VAR}: expected false, got "
            f"{resources.get(ALLOW_LOG_STREAMING_VAR, 'nothing, which is true')}: FLARE would send this site's logs to "
            f"the server; {_FIX}"
        )


def _check_classes(kit: Path, resources: Mapping[str, Any]) -> set[str]:
    listed = resources.get(CLASS_ALLOW_LIST)
    where = f"{kit}/local/resources.json: {CLASS_ALLOW_LIST}"
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise InputError(f"{where}: expected a list of classes, got {type(listed).__name__}; {_FIX}")
    for entry in listed:
        if entry == "*" or _is_prefix(entry) or entry.endswith(_BUILDS_ANYTHING):
            raise InputError(
                f"{where}: expected exact names of classes, got {entry!r}, through which a job can run any command; "
                f"{_FIX}"
            )
        _check_known(where, entry)
    mode = resources.get(CLASS_LIST_ENFORCEMENT_MODE, ClassListEnforcementMode.ENFORCE.value)
    if mode != ClassListEnforcementMode.ENFORCE.value:
        raise InputError(
            f"{kit}/local/resources.json: {CLASS_LIST_ENFORCEMENT_MODE}: expected "
            f"{ClassListEnforcementMode.ENFORCE.value!r}, got {mode!r}, which admits every class; {_FIX}"
        )
    return set(listed)


def _check_known(where: str, entry: Any) -> None:
    """Refuses a component, or its name, that this version does not have: FLARE would fail at it, at the job's start."""
    name = entry.get("path") if isinstance(entry, dict) else entry
    if str(name).startswith(_OURS) and name not in _COMPONENTS:
        raise InputError(
            f"{where}: expected components of flare_mri {flare_mri.__version__}, got {str(name)!r:.200}, which it does "
            f"not have; {_FIX}"
        )


def _is_prefix(entry: str) -> bool:
    """Whether an entry is a module's name, under which FLARE admits everything that the module holds or imports."""
    if entry.endswith(".") or "." not in entry:
        return True
    try:
        return importlib.util.find_spec(entry) is not None
    except ModuleNotFoundError:  # a class, or a package that is not installed here and so cannot be reached
        return False


def _find_roles(policy: Mapping[str, Any], right: str) -> list[str]:
    """The roles that have a right, by FLARE's ``any`` too; one that is not spelt out is not granted."""
    permissions = policy.get("permissions")
    if not isinstance(permissions, dict):
        return ["everyone"]
    return [
        role
        for role, rights in permissions.items()
        if (rights.get(right, "none") if isinstance(rights, dict) else rights) != "none"
    ]


def _read_pinned(kit: Path) -> list[str] | None:
    """Key prefixes that the filter for every job lets leave; None where one of the scopes has no such filter."""
    if not (kit / "local" / "privacy.json").exists():
        return None
    allowed: list[str] = []
    for scope in _read(kit, "privacy.json").get("scopes") or []:
        filters = scope.get("task_result_filters") or []
        for entry in filters:
            _check_known(f"{kit}/local/privacy.json: task_result_filters", entry)
        pins = [entry for entry in filters if entry.get("path") == PIN]
        if not pins:
            return None
        allowed += [prefix for prefix in pins[0]["args"]["allowed"] if prefix not in allowed]
    return allowed


def _read(kit: Path, name: str) -> dict[str, Any]:
    """The file in force: the site's own or, where there is none, FLARE's default; empty where there is neither."""
    own, default = kit / "local" / name, kit / "local" / f"{name}.default"
    path = own if own.exists() else default
    values = read_json(path, _MOST_BYTES, f"correct it or {_FIX}") if path.exists() else {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping, got {type(values).__name__}; correct it or {_FIX}")
    return values
