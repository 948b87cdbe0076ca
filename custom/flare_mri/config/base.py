# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Base of all settings: pydantic models whose mistakes are told in one line."""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

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
    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions and their names of today: a message tells them to whoever writes an old one."""
    fix: ClassVar[str] = ""
    """End of the message about a value that is missing or wrong, where it is not to correct or to add it."""
    mapping: ClassVar[str] = "a mapping 'key: value'"
    """Name of the model itself in messages."""

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


def describe_error(error: ValidationError, model: type[Settings]) -> str:
    """The first mistake that pydantic found as "key: expected ..., got ...; fix".

    Args:
        error: of validating `model`.
        model: names the keys that are known where one is not.
    """
    first = error.errors(include_url=False)[0]
    path, owner, field = _walk(model, first["loc"])
    key, kind, told = path[:200] or "the file", first["type"], str(first.get("ctx", {}).get("error", ""))
    name = str(first["loc"][-1]) if first["loc"] else ""
    if kind == "extra_forbidden" and name in owner.renamed:
        return f"{key}: expected no such key, since it is called {owner.renamed[name]} now; rename it"
    if kind == "extra_forbidden":
        known = sorted(owner.model_fields)
        like = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {like[0]!r}?" if like else "remove it"
        return f"{key}: expected one of the keys {', '.join(known)}, got an unknown key; {fix}"
    if kind == "value_error" and (part := _OF_A_KEY.match(told)):
        return f"{path[:200]}{'.' if path else ''}{part[1]}: {part[2]}"
    if kind == "value_error" and ", got " in told:
        return f"{key}: {told}; correct it there"
    if kind == "missing":
        wanted = (field.description if field and field.description else "a value").split(";")[0].rstrip(".")
        given = [str(other) for other in first["input"]] if isinstance(first["input"], Mapping) else []
        like = difflib.get_close_matches(name, given, n=1)
        fix = f"is {like[0]!r} meant to be it?" if like else model.fix or "add this key"
        return f"{key}: expected {wanted}, got nothing; {fix}"
    expected = model.mapping if kind in _MAPPINGS else told.removeprefix("expected ") or _expected(first, field)
    return f"{key}: expected {expected}, got {show_value(first['input'])}; {model.fix or 'correct it there'}"


def _expected(found: Mapping[str, Any], field: FieldInfo | None) -> str:
    bounds = [f"{sign} {bound:g}" for sign, bound in _bounds_of(field)]
    if found["type"] in _NUMBERS or (bounds and found["type"] in _OUT_OF_BOUNDS):
        whole = int in (field.annotation, *get_args(field.annotation)) if field else found["type"] in _WHOLE_NUMBERS
        return " ".join(["a whole number" if whole else "a number", " and ".join(bounds)]).rstrip()
    if found["type"] == "too_short":
        return f"at least {found['ctx']['min_length']}"
    told = found["msg"]
    for start in ("Input should be a valid ", "Input should be ", "Value error, "):
        told = told.removeprefix(start)
    return _WORDS.get(told, told)


_OF_A_KEY = re.compile(r"(\w+(?:\[\d+\])?): (expected .*; .*)\Z", re.DOTALL)
"""A validator of a whole model says itself which key is wrong, and all the rest of the line."""
_WHOLE_NUMBERS = {"int_type", "int_from_float"}
_NUMBERS = {*_WHOLE_NUMBERS, "float_type", "finite_number"}
_MAPPINGS = {"model_type", "dict_type"}
_OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_WORDS = {"boolean": "true or false", "string": "text", "list": "a list"}


def _bounds_of(field: FieldInfo | None) -> list[tuple[str, float]]:
    """Signs and bounds of a field of numbers."""
    parts = field.metadata if field else []
    found = [(sign, getattr(part, name, None)) for part in parts for name, sign in _SIGNS.items()]
    return [(sign, bound) for sign, bound in found if bound is not None]


def _walk(model: type[Settings], place: Iterable[str | int]) -> tuple[str, type[Settings], FieldInfo | None]:
    """The place of a mistake as people write it, the innermost model on the way, and its field where it ends in one."""
    path, owner, field = "", model, None
    at: Any = model
    for part in place:
        members = [one for one in get_args(at) if one is not NoneType] if _is_union(at) else [at]
        if len(members) > 1:  # pydantic puts the member of a union that it tried into the place
            at = Any
            continue
        at, field = members[0], None
        if get_origin(at) is Annotated:
            at = get_args(at)[0]
        if isinstance(at, type) and issubclass(at, Settings):
            owner, field = at, at.model_fields.get(str(part))
            at = field.annotation if field else Any
        else:  # of a list or a dictionary
            at = (get_args(at) or (Any,))[-1 if get_origin(at) is dict else 0]
        told = part if isinstance(part, str) and part.isprintable() else repr(part)
        path += f"[{told}]" if isinstance(part, int) else f".{told}"
    return path.removeprefix("."), owner, field


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
