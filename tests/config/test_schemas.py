# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Schemas, references of settings and errors: fresh, and of one mind with the code on what a site.yaml may hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import export_settings
from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.methods import METHODS

REPO = Path(__file__).parents[2]
EXAMPLES = sorted((REPO / "examples").rglob("site.yaml"))
SCHEMA = REPO / "docs" / "reference" / "schemas" / "site.schema.json"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def holds(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value fits a JSON schema, by the keywords that ours have."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and not holds(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root):
        return False
    if "if" in schema and not holds(value, schema["then" if holds(value, schema["if"], root) else "else"], root):
        return False
    for keyword, enough in (("anyOf", lambda n: n >= 1), ("oneOf", lambda n: n == 1)):
        if keyword in schema and not enough(sum(holds(value, member, root) for member in schema[keyword])):
            return False
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = schema.get("type")
    if kind in ("integer", "number") and not (number and (kind == "number" or isinstance(value, int))):
        return False
    if (kind in TYPES and not isinstance(value, TYPES[kind])) or value not in schema.get("enum", [value]):
        return False
    if value != schema.get("const", value) or (number and not schema.get("minimum", value) <= value):
        return False
    if number and not (value <= schema.get("maximum", value) and schema.get("exclusiveMinimum", value - 1) < value):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        members = schema.get("prefixItems") or [schema.get("items", True)] * len(value)
        return all(holds(item, member, root) for item, member in zip(value, members, strict=True))
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        whole = set(schema.get("required", ())) <= value.keys()
        return whole and all(holds(item, known.get(key, rest), root) for key, item in value.items())
    return True


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(SCHEMA.read_text())


def test_files_are_as_the_models_export_them() -> None:
    assert export_settings.find_differences() == []


def test_a_difference_is_found_and_told(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export_settings, "REFERENCE", tmp_path)
    assert export_settings.main(["--check"]) == 1 and "site.schema.json: differs" in capsys.readouterr().err
    assert export_settings.main([]) == 0 and export_settings.main(["--check"]) == 0
    (tmp_path / "settings.md").write_text("old")
    (tmp_path / "schemas" / "old.schema.json").write_text("{}")
    assert export_settings.find_differences() == ["schemas/old.schema.json", "settings.md"]


def test_every_option_of_a_method_is_told() -> None:
    page = (REPO / "docs" / "reference" / "settings.md").read_text()
    assert all(f"| `{option}` |" in page for method in METHODS.values() for option in method.options.model_fields)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_examples_name_the_schema_and_hold_to_it(path: Path, schema: Any) -> None:
    text = path.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named is not None and (path.parent / named[1]).resolve() == SCHEMA
    assert holds(yaml.safe_load(text), schema, schema)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("data: {format: phantom}", True),
        ("site: site-1\ndata: {format: phantom, subjects: 3, spatial_size: [32, 48], augmentation: [flip]}", True),
        ("data: {format: nifti, root: ., slice_axis: 1, orientation: null, slices: {start: 2}}", True),
        ("data: {format: brats, root: ., include: [t2], spacing: [1, 1, 2.5]}\nsplit: {train: 1, test: 0}", None),
        ("data: {format: phantom}\nmask: {kind: radial, acceleration: 6}\ncache: {limit_mb: 5}\nstore: x", True),
        ("pooled_sites: [site-1, site-2]\nbatch_size: 2\ndevice: 'cuda:1'", True),
        ("batch_size: 4", False),
        ("data: {format: analyze}", False),
        ("data: {format: fastmri}", False),
        ("data: {format: phantom, root: .}", False),
        ("data: {format: fastmri, root: ., slice_axis: 1}", False),
        ("data: {format: nifti, root: ., slice_axis: 3}", False),
        ("data: {format: nifti, root: ., spatial_size: [128]}", False),
        ("data: {format: nifti, root: ., spatial_size: [8, 128]}", False),
        ("data: {format: nifti, root: ., spacing: [1, 1, 0]}", False),
        ("data: {format: nifti, root: ., orientation: XYZ}", False),
        ("data: {format: brats, root: .}", False),
        ("data: {format: phantom}\nbatch_size: 5000", False),
        ("data: {format: phantom}\nbatch_size: true", False),
        ("data: {format: phantom}\nbatchsize: 4", False),
        ("data: {format: phantom}\nfile: x.yaml", False),
        ("data: {format: phantom}\ndevice: gpu", False),
        ("data: {format: phantom}\nmask: {kind: spiral}", False),
        ("data: {format: phantom}\nmask: {acceleration: 0.5}", False),
        ("data: {format: phantom}\nsplit: {by: patient}", False),
        ("pool: [site-1]", False),
        ("pooled_sites: [site-1]\nmask: {kind: radial}", False),
    ],
)
def test_editor_and_code_agree(text: str, fits: bool | None, schema: Any, tmp_path: Path) -> None:
    """None: of the two only the code sees it, as a sum over keys."""
    (tmp_path / "site.yaml").write_text(text)
    assert holds(yaml.safe_load(text), schema, schema) == (fits is not False)
    if fits:
        load_site_config(tmp_path / "site.yaml", "site-1")
    else:
        with pytest.raises(InputError):
            load_site_config(tmp_path / "site.yaml", "site-1")
