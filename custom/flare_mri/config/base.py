# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Base of all settings: pydantic models whose mistakes are told in one line."""

import difflib
import re
import reprlib
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from flare_mri.errors import InputError


class _Short(reprlib.Repr):
    """Shows a line's worth of any value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write numbers of more than some thousand digits."""
        return str(x) if x.bit_length() < 512 else f"a number of {x.bit_length()} bits"


show_value = _Short().repr
"""The text of a foreign value for a message, however large that value is."""


class Settings(BaseModel):
    """Settings whose fields are the keys of a file, the arguments of a job and the options of a command line.

    A field's description is what ``--help``, the JSON schema and the documentation say of it: a setting stands once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @classmethod
    def read(cls, values: Any, origin: str) -> Self:
        """Settings from a mapping as a parser gave it.

        Args:
            values: keys and plain values.
            origin: how messages name what the values come from: site and file.

        Raises:
            InputError: one line with origin, key, what was expected, what came and the fix.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{origin}: {describe_error(error, cls)}") from error


def describe_error(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake that pydantic found as "key: expected ..., got ...; fix".

    Args:
        error: of validating `model`.
        model: names the keys that are known where one is not.
    """
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"] if not _names_a_type(part)]
    key, kind = ".".join(place) or "the file", first["type"]
    renamed: Mapping[str, str] = getattr(model, "renamed", {})
    if kind == "extra_forbidden" and place[-1] in renamed:
        return f"{key:.200}: expected no such key, since it is called {renamed[place[-1]]} now; rename it"
    if kind == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        like = difflib.get_close_matches(place[-1], known, n=1)
        fix = f"did you mean {like[0]!r}?" if like else "remove it"
        return f"{key:.200}: expected one of the keys {', '.join(known)}, got an unknown key; {fix}"
    if kind == "value_error" and (part := _OF_A_KEY.match(str(first["ctx"]["error"]))):
        return f"{'.'.join([*place, part[1]])}: {part[2]}"
    if kind == "value_error" and ", got " in (told := str(first["ctx"]["error"])):
        return f"{key}: {told}; correct it there"
    field = _field_at(model, place)
    if kind == "missing":
        wanted = (field.description if field and field.description else "a value").split(";")[0].rstrip(".")
        given = [str(name) for name in first["input"]] if isinstance(first["input"], Mapping) else []
        like = difflib.get_close_matches(place[-1], given, n=1)
        fix = f"is {like[0]!r} meant to be it?" if like else "add this key"
        return f"{key}: expected {wanted}, got nothing; {fix}"
    return f"{key}: expected {_expected(first, field)}, got {show_value(first['input'])}; correct it there"


def _names_a_type(part: Any) -> bool:
    """Pydantic puts the member of a union that it tried into the place of a mistake."""
    return isinstance(part, str) and ("[" in part or part in {"int", "float", "str", "bool", "none"})


def _expected(found: Mapping[str, Any], field: FieldInfo | None) -> str:
    if found["type"] == "value_error":
        return str(found["ctx"]["error"]).removeprefix("expected ")
    bounds = [f"{sign} {bound:g}" for sign, bound in _bounds_of(field)]
    if found["type"] in _NUMBERS or (bounds and found["type"] in _OUT_OF_BOUNDS):
        whole = field is not None and int in (field.annotation, *get_args(field.annotation))
        return " ".join(["a whole number" if whole else "a number", " and ".join(bounds)]).rstrip()
    told = found["msg"]
    for start in ("Input should be a valid ", "Input should be ", "Value error, "):
        told = told.removeprefix(start)
    return _WORDS.get(told, told)


_OF_A_KEY = re.compile(r"(\w+): (expected .*; .*)\Z", re.DOTALL)
"""A validator of a whole model says itself which key is wrong, and all the rest of the line."""
_NUMBERS = {"int_type", "float_type", "int_from_float", "finite_number"}
_OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_WORDS = {"boolean": "true or false", "string": "text", "dictionary": "a mapping 'key: value'"}


def _bounds_of(field: FieldInfo | None) -> list[tuple[str, float]]:
    """Signs and bounds of a field of numbers."""
    parts = field.metadata if field else []
    found = [(sign, getattr(part, name, None)) for part in parts for name, sign in _SIGNS.items()]
    return [(sign, bound) for sign, bound in found if bound is not None]


def _field_at(model: type[BaseModel], place: list[str]) -> FieldInfo | None:
    field = None
    for part in place:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return field


def _keys_at(model: type[BaseModel], place: list[str]) -> list[str]:
    for part in place:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return sorted(model.model_fields)
        model = inner
    return sorted(model.model_fields)
