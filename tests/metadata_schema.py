# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The rules that MONAI's schema ``meta_schema_20240725.json`` sets for a bundle's metadata.json, in words of our own.

MONAI fetches its file from the network, where tests do not go: this says what that one asks for, and MONAI's own
``verify_metadata`` checks it.
"""

import json
from pathlib import Path
from typing import Any

import monai.bundle

from flare_mri.bundle.metadata import SCHEMA

_TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
_MORE_TEXTS = ("data_source", "data_type", "image_classes", "label_classes", "pred_classes", "intended_use")
_OBJECTS = ("changelog", "required_packages_version", "eval_metrics", "supported_apps")
_TENSOR_TYPES: dict[str, Any] = {
    "type": {"type": "string"},
    "format": {"type": "string"},
    "num_channels": {"type": "integer"},
    "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
    "dtype": {"type": "string"},
    "value_range": {"type": "array", "items": {"type": "number"}},
    "is_patch_data": {"type": "boolean"},
    "channel_def": {"type": "object"},
}
_OPTIONAL = {"is_patch_data", "channel_def"}
_TENSOR = {"type": "object", "properties": _TENSOR_TYPES, "required": sorted(_TENSOR_TYPES.keys() - _OPTIONAL)}
_ENTRIES = {"type": "object", "additionalProperties": {"anyOf": [{"type": ["number", "string", "boolean"]}, _TENSOR]}}
_DATA_FORMAT = {
    "type": "object",
    "properties": {"inputs": _ENTRIES, "outputs": _ENTRIES, "post_processed_outputs": _ENTRIES},
    "required": ["inputs", "outputs"],
}
RULES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in (*_TEXTS, "copyright", *_MORE_TEXTS)},
        **{name: {"type": "object"} for name in _OBJECTS},
        "references": {"type": "array", "items": {"type": "string"}},
    },
    "patternProperties": {"^[_a-zA-Z0-9]+_data_format$": _DATA_FORMAT},
    "required": [*_TEXTS, "copyright", "required_packages_version", "network_data_format"],
}


def assert_fits_schema(file: Path, folder: Path) -> None:
    """MONAI's own check of a metadata.json, with the rules in the place of the file that it would fetch.

    Raises:
        ValueError: it does not fit.
    """
    assert json.loads(file.read_text())["schema"] == SCHEMA  # the version that these are the rules of
    rules = folder / "schema.json"
    rules.write_text(json.dumps(RULES))
    monai.bundle.verify_metadata(str(file), filepath=str(rules))
