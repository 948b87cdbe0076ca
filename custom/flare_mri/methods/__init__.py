# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Federated methods, one file each; a new one is a file and a line here."""

import importlib
from collections.abc import Iterable

from flare_mri.errors import InputError
from flare_mri.methods.base import Method, ServerHooks, SiteHooks

_FILES = (
    "fedmri",
    "iop_fl",
    "encoder_sharing",
    "fedavg",
    "fedprox",
    "fedbn",
    "all_but_last",
    "ditto",
    "fedrep",
    "scaffold",
    "local_only",
    "centralised",
)
METHODS: dict[str, Method] = {
    method.name: method for method in (importlib.import_module(f"{__name__}.{file}").METHOD for file in _FILES)
}
"""All methods by name. The first that serves a task is the default of the task's job."""
ROUTING = "IOP-FL-outside"
"""The name of test-time routing at a hospital outside the federation, for policies; no weights of it leave."""
STATISTICS = "site-statistics"
"""The name of statistics of a site's data, for policies; numbers of enough patients leave, and no weights."""
METHOD_NAMES = (*METHODS, ROUTING, STATISTICS)

__all__ = [
    "METHODS",
    "METHOD_NAMES",
    "ROUTING",
    "STATISTICS",
    "Method",
    "ServerHooks",
    "SiteHooks",
    "find_method",
    "methods_of",
]


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r:.80}: expected one of {', '.join(METHODS)}; correct the job")
    return METHODS[name]


def methods_of(task: str) -> dict[str, Method]:
    """The methods that serve a task, by name."""
    return {name: method for name, method in METHODS.items() if task in method.tasks}


def shared_layers_of(names: Iterable[str]) -> tuple[str, ...]:
    """The shared layers of the methods of these names, each once."""
    return tuple(dict.fromkeys(METHODS[name].shared_layers for name in names if name in METHODS))


def describe_methods(task: str) -> str:
    """The methods that serve a task as a table in Markdown, for the documentation."""
    rows = [f"| `{m.name}` | `{m.shared_layers}` | {m.description} | {m.result} |" for m in methods_of(task).values()]
    return "\n".join(["| method | shared | what it does | a site ends with |", "| --- | --- | --- | --- |", *rows])
