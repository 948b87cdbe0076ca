# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a results.json must hold; everything else in it is kept and ignored.

::

    {"format_version": 1, "versions": {"torch": "2.9.0", ...},
     "methods": {"FedMRI": {
        "job", "created", "seed", "settings": {...}, "seconds", "versions": {...} (optional, where it differs),
        "sites": {"site-1": {"test": {"psnr": 28.1, ...}, "validation", "zero_filled" (same form),
            "best": {"round", "validation", "test"}, "personal": {"validation", "test"}, "data": {...},
            "note": "plain words shown in the report",
            "entropy": {"before", "after"}, "routing": {"experts": [E names], "layers": [L names], "weights": [L][E]}}},
        "rounds": [{"round": 0, "seconds", "sites": {"site-1": {"test", "validation", "personal_test",
            "personal_validation", "train_loss", "seconds", "bytes_sent", "bytes_received", "slices"}}}]}}}

Everything about a site may be missing, as where it went away; a method has test scores of one site at least.

A metric's value is a number, or null where it is not defined (HD95 of an empty outline).
"""

from __future__ import annotations

from typing import Any

from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import KNOWN, metrics_in

FORMAT_VERSION = 1
_SCORES = ("test", "validation", "zero_filled")
_ROUND_SCORES = ("test", "validation", "personal_test", "personal_validation")
PERSONAL = " (personal)"
BASELINE = "Zero-filled"
"""Name of the row of the unprocessed input, which every reconstruction is compared with."""
_ROUND_NUMBERS = ("train_loss", "seconds", "bytes_sent", "bytes_received", "slices")


class _Checker:
    """Says in one line where in which file something else stands than expected."""

    def __init__(self, source: str):
        self.source = source

    def fail(self, key: str, expected: str, got: Any, remedy: str = "") -> InputError:
        shown = type(got).__name__ if isinstance(got, dict | list) else repr(got)
        remedy = remedy or "use the results.json of a finished flare-mri run"
        return InputError(f"{self.source}: {key}: expected {expected}, got {shown[:80]}; {remedy}")

    def take(self, parent: dict, key: str, kind: type | tuple[type, ...], expected: str, where: str) -> Any:
        """``parent[key]`` of the given kind; a bool is never taken for a number."""
        path = f"{where}.{key}" if where else key
        if key not in parent:
            remedy = "use the results.json of a finished flare-mri run"
            raise InputError(f"{self.source}: {path} is missing: expected {expected}; {remedy}")
        value = parent[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.fail(path, expected, value)
        return value

    def optional(self, parent: dict, key: str, kind: type | tuple[type, ...], expected: str, where: str) -> Any:
        """As :meth:`take`; None where the key is absent or null."""
        return None if parent.get(key) is None else self.take(parent, key, kind, expected, where)

    def scores(self, parent: dict, part: str, where: str) -> None:
        """Where ``parent[part]`` exists it holds metrics, each a number or null."""
        scores = self.optional(parent, part, dict, "an object of metrics", where) or {}
        if scores and not metrics_in(scores):
            raise self.fail(f"{where}.{part}", f"at least one of {', '.join(KNOWN)}", ", ".join(scores))
        for metric in metrics_in(scores):
            self.optional(scores, metric.key, (int, float), "a number or null", f"{where}.{part}")


def validate_results(results: Any, source: str = "results") -> dict[str, Any]:
    """Checks a results dictionary against the format above.

    Args:
        results: What was read from, or is to be written to, a results.json.
        source: Name for messages, e.g. the file's path.

    Returns:
        ``results`` itself.

    Raises:
        InputError: The first thing that is missing or of another kind, with its key path.
    """
    check = _Checker(source)
    if not isinstance(results, dict):
        raise check.fail("the file", "an object with format_version, versions and methods", results)
    version = check.take(results, "format_version", int, f"the number {FORMAT_VERSION}", "")
    if version != FORMAT_VERSION:
        remedy = "make the report with the flare-mri version that wrote the file"
        raise check.fail("format_version", f"{FORMAT_VERSION}", version, remedy)
    check.take(results, "versions", dict, "an object of names and versions", "")
    methods = check.take(results, "methods", dict, "an object with one entry a method", "")
    if not methods:
        raise InputError(f"{source}: methods: expected at least one method, got none; run a job first")
    for name in methods:
        if name == BASELINE or name.endswith(PERSONAL):
            raise InputError(f"{source}: methods: {name!r} is a name that the report gives itself; rename the method")
        _validate_method(check, check.take(methods, name, dict, "an object", "methods"), f"methods.{name}")
    return results


def _validate_method(check: _Checker, method: dict, where: str) -> None:
    check.take(method, "job", str, "the job's name", where)
    check.take(method, "created", str, "a date and time", where)
    check.take(method, "seed", int, "a whole number", where)
    check.take(method, "settings", dict, "an object", where)
    check.take(method, "seconds", (int, float), "a number of seconds", where)
    check.optional(method, "versions", dict, "an object of names and versions", where)
    sites = check.take(method, "sites", dict, "an object with one entry a site", where)
    if not sites:
        raise InputError(f"{check.source}: {where}.sites: expected at least one site, got none; run the job again")
    for name in sites:
        _validate_site(check, check.take(sites, name, dict, "an object", f"{where}.sites"), f"{where}.sites.{name}")
    if not any(metrics_in(site.get("test") or {}) for site in sites.values()):
        raise InputError(
            f"{check.source}: {where}.sites: expected test scores ({', '.join(KNOWN)}) of one site at least, got none; "
            "wait for the run to finish, or run the job again"
        )
    for index, entry in enumerate(check.take(method, "rounds", list, "a list of rounds", where)):
        _validate_round(check, entry, f"{where}.rounds[{index}]")


def _validate_site(check: _Checker, site: dict, where: str) -> None:
    for part in _SCORES:
        check.scores(site, part, where)
    check.optional(site, "data", dict, "an object", where)
    check.optional(site, "note", str, "a sentence", where)
    best = check.optional(site, "best", dict, "an object", where)
    if best is not None:
        check.take(best, "round", int, "a round number", f"{where}.best")
        for part in ("test", "validation"):
            check.scores(best, part, f"{where}.best")
    personal = check.optional(site, "personal", dict, "an object", where) or {}
    for part in ("test", "validation"):
        check.scores(personal, part, f"{where}.personal")
    entropy = check.optional(site, "entropy", dict, "an object with before and after", where)
    if entropy is not None:
        for key in ("before", "after"):
            check.take(entropy, key, (int, float), "a number", f"{where}.entropy")
    routing = check.optional(site, "routing", dict, "an object with experts, layers and weights", where)
    if routing is not None:
        _validate_routing(check, routing, f"{where}.routing")


def _validate_routing(check: _Checker, routing: dict, where: str) -> None:
    experts = check.take(routing, "experts", list, "a list of names", where)
    layers = check.take(routing, "layers", list, "a list of names", where)
    weights = check.take(routing, "weights", list, "a list of rows", where)
    if not experts or not layers:
        raise InputError(f"{check.source}: {where}: expected at least one layer and one expert, got none; run again")
    if len(weights) != len(layers):
        raise check.fail(f"{where}.weights", f"{len(layers)} rows, one a layer", f"{len(weights)} rows")
    for index, row in enumerate(weights):
        numbers = isinstance(row, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in row)
        if not numbers or len(row) != len(experts):
            raise check.fail(f"{where}.weights[{index}]", f"{len(experts)} numbers, one an expert", repr(row))


def _validate_round(check: _Checker, entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise check.fail(where, "an object", entry)
    check.take(entry, "round", int, "a round number", where)
    check.optional(entry, "seconds", (int, float), "a number of seconds", where)
    sites = check.take(entry, "sites", dict, "an object with one entry a site", where)
    for name in sites:
        site = check.take(sites, name, dict, "an object", f"{where}.sites")
        path = f"{where}.sites.{name}"
        for part in _ROUND_SCORES:
            check.scores(site, part, path)
        for key in _ROUND_NUMBERS:
            check.optional(site, key, (int, float), "a number", path)
