# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Export JSON schemas, from which editors complete and check, and the made pages of docs/reference, from the source.

The schemas and settings.md come from the settings' models, errors.md from the messages of the package.

``--check`` changes nothing and fails where a file differs from the source.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from export_errors import errors_page
from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.base import Settings
from flare_mri.config.data import DataSettings, SliceRange
from flare_mri.config.mask import MaskSettings
from flare_mri.config.network import NetworkSettings
from flare_mri.config.results import Results
from flare_mri.config.server import ServerSettings
from flare_mri.config.site import CacheSettings, PooledSettings, SiteSettings, SplitSettings
from flare_mri.config.statistics import StatisticsSettings
from flare_mri.config.training import TrainingSettings
from flare_mri.deploy.policy import POLICY_FILE, Policy
from flare_mri.io.formats import FORMATS
from flare_mri.methods import METHODS
from flare_mri.methods.systems import FEDMRI, IOPFL

REFERENCE = Path(__file__).parent / "reference"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SEPARATE = ("data", "split", "mask", "cache", "statistics")
_HEAD = """# Settings

Every key and option, made by `make schemas` from the models that check them. [site-yaml.md](site-yaml.md) shows a whole
`site.yaml`, [command-lines.md](command-lines.md) the commands. An editor with a YAML language server completes and
checks a `site.yaml` whose first line is `# yaml-language-server: $schema=` and the path of
[schemas/site.schema.json](schemas/site.schema.json).
"""


def export_files() -> dict[Path, str]:
    """Path below `reference` -> text of every file that is made from the source."""
    schemas = {
        "site": _site_schema(),
        "policy": _schema_of(Policy, POLICY_FILE),
        "training": _schema_of(TrainingSettings, "Training settings of a job"),
        "network": _schema_of(NetworkSettings, "Network of a job"),
        "server": _schema_of(ServerSettings, "Settings of a job at the server"),
        "adaptation": _schema_of(AdaptationSettings, "Settings of test-time routing"),
        "results": _results_schema(),
    }
    files = {
        Path("schemas") / f"{name}.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    return {**files, Path("settings.md"): _markdown(), Path("errors.md"): errors_page()}


def _schema_of(model: type[Settings], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, **model.model_json_schema(), "title": title}


def _results_schema() -> dict[str, Any]:
    """That of results.json, with the scores once and not at each of their places."""
    scores: dict[str, Any] = {}

    def refer(value: Any) -> Any:
        if isinstance(value, dict) and value.get("title") == "Scores":
            scores.update(value)
            return {"$ref": "#/$defs/Scores"}
        if isinstance(value, dict):
            return {key: refer(item) for key, item in value.items()}
        return [refer(item) for item in value] if isinstance(value, list) else value

    schema = refer(_schema_of(Results, "results.json"))
    schema["$defs"]["Scores"] = scores
    return schema


def _site_schema() -> dict[str, Any]:
    """One object for both kinds of site.yaml: that of a site, and that of a pooled one."""
    options = {name: entry.options for name, entry in FORMATS.items()}
    models: list[type[Settings]] = [SiteSettings, PooledSettings, *options.values()]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    defs = schema["$defs"]
    key_of = {model: ref["$ref"].rsplit("/", 1)[1] for (model, _), ref in refs.items()}
    for name, model in options.items():
        defs[key_of[model]]["properties"]["format"] = {"const": name}
    site, pooled = defs.pop(key_of[SiteSettings]), defs.pop(key_of[PooledSettings])
    del defs["DataSettings"]
    data: dict[str, Any] = {
        "type": "object",
        "required": ["format"],
        "oneOf": [refs[model, "validation"] for model in options.values()],
    }
    data["properties"] = {"format": {"enum": list(options), "description": "name of the format of the files"}}
    return {
        "$schema": _DIALECT,
        "title": "site.yaml",
        "description": "A hospital's own data and machine. Nothing of it is ever sent.",
        "type": "object",
        "properties": {**pooled["properties"], **site["properties"], "data": data},
        "additionalProperties": False,
        "if": {"required": ["pooled_sites"]},
        "then": {"properties": dict.fromkeys(_SEPARATE, False)},
        "else": {"required": ["data"]},
        "$defs": defs,
    }


def _markdown() -> str:
    common = DataSettings.model_fields
    machine = [name for name in SiteSettings.model_fields if name not in _SEPARATE]
    parts = [_HEAD, "## site.yaml", _table(SiteSettings, machine)]
    sections: dict[str, type[Settings]] = {"split": SplitSettings, "mask": MaskSettings, "cache": CacheSettings}
    sections["statistics"] = StatisticsSettings
    for name, model in sections.items():
        parts += [f"### {name}", _table(model)]
    parts += ["### pooled_sites", "Instead of `data`, `split`, `mask`, `cache` and `statistics`:"]
    parts += [_table(PooledSettings, ["batch_size", "pooled_sites"])]
    parts += ["### data", "Of every format:", _table(DataSettings), "`slices` is a mapping of:", _table(SliceRange)]
    for name, entry in FORMATS.items():
        own = [key for key, field in entry.options.model_fields.items() if repr(field) != repr(common.get(key))]
        parts += [f"#### format: {name}", f"For {' and '.join(entry.tasks)}; keys of its own, or with other defaults:"]
        parts += [_table(entry.options, own)]
    systems = (FEDMRI, IOPFL)
    training = {system.name: system.training.model_dump(mode="json") for system in systems}
    parts += ["## Training", "Options of `jobs/fedmri` and `jobs/iopfl`, each with `--` before it."]
    parts += [_table(TrainingSettings, jobs=training)]
    for name, method in METHODS.items():
        if method.options.model_fields:
            parts += [f"### Method {name}", _table(method.options)]
    parts += ["## Network", "What `--network` and the options of networks become in a job."]
    parts += [_table(NetworkSettings), "## Server", "Options of the training jobs."]
    parts += [_table(ServerSettings, jobs={system.name: {"weighting": system.weighting} for system in systems})]
    parts += ["## Test-time routing", "Options of `jobs/iopfl_outside`.", _table(AdaptationSettings)]
    parts += [
        f"## {POLICY_FILE}",
        "A hospital's own policy, in the `local` folder of its kit; every key must be there.",
    ]
    parts += [_table(Policy)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(
    model: type[Settings], names: Iterable[str] | None = None, jobs: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Keys, values, defaults and meanings of a model's fields.

    Args:
        model: whose fields.
        names: of the fields to take; None for all.
        jobs: name of a job -> its own defaults of some fields.
    """
    schema = model.model_json_schema()
    required = set(schema.get("required", ())) - {"site"}  # which FLARE names
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for name in names or model.model_fields:
        field = schema["properties"][name]
        default = "required" if name in required else _show(field["default"]) if "default" in field else "–"
        own = {job: _show(found[name]) for job, found in (jobs or {}).items() if name in found}
        if own:
            alike = len(set(own.values())) == 1
            default = next(iter(own.values())) if alike else "; ".join(f"{job}: {value}" for job, value in own.items())
        told = " ".join(field.get("description", "").split()).rstrip(".")
        rows.append(f"| `{name}` | {_kind_of(field)} | {default} | {told} |".replace("||", "\\|\\|"))
    return "\n".join(rows)


def _show(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


_PLAIN = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
}
_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def _kind_of(prop: Mapping[str, Any]) -> str:
    """The values a property takes, in words."""
    if "anyOf" in prop:
        return " or ".join(_kind_of(member) for member in prop["anyOf"] if member.get("type") != "null")
    if "enum" in prop or "const" in prop:
        return ", ".join(f"`{value}`" for value in prop.get("enum", [prop.get("const")]))
    if "$ref" in prop:
        return "mapping"
    if prop.get("type") == "array":
        members = prop.get("prefixItems")
        return f"{len(members)} of {_kind_of(members[0])}" if members else f"list of {_kind_of(prop['items'])}"
    kind = "path" if str(prop.get("format", "")).endswith("path") else _PLAIN[prop["type"]]
    bounds = [f"{sign} {prop[key]:.10g}" for key, sign in _SIGNS.items() if key in prop]
    return " ".join([kind, " and ".join(bounds)]).rstrip()


def find_differences() -> list[str]:
    """Files that differ from the models, or that no model makes."""
    files = export_files()
    stray = {path.relative_to(REFERENCE) for path in (REFERENCE / "schemas").glob("*")} - files.keys()
    wrong = [path for path, text in files.items() if not _holds(REFERENCE / path, text)]
    return [str(path) for path in sorted([*stray, *wrong])]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(argv: list[str] | None = None) -> int:
    """Writes the files; the exit status is 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail where a file differs")
    if parser.parse_args(argv).check:
        found = find_differences()
        for name in found:
            print(f"docs/reference/{name}: differs from the settings' models; run make schemas", file=sys.stderr)
        return 1 if found else 0
    for path, text in export_files().items():
        (REFERENCE / path).parent.mkdir(parents=True, exist_ok=True)
        (REFERENCE / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
