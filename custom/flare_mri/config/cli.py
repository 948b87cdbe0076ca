# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Command-line options from the fields of settings: type, choices, default and help stand in the field alone."""

import argparse
import difflib
import json
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from flare_mri.config.base import Settings


class Parser(argparse.ArgumentParser):
    """A parser of a command: its description as it is written, and a misspelt option told with the one that is meant.

    argparse would first miss the option that is required and was misspelt. Options may be written with dashes, as those
    of FLARE's own commands are: ``--dicom-node`` is ``--dicom_node``.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, after a look at the names of options; ends the process with 2 where one is unknown."""
        words = list(sys.argv[1:] if args is None else args)
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        end = words.index("--") if "--" in words else len(words)
        words[:end] = [_with_underscores(word, known) for word in words[:end]]
        for word in words[:end]:
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in name and not any(option.startswith(name) for option in known):
                close = _options_like(name, known)
                asked = f"did you mean {' or '.join(close)}?" if close else f"{self.prog} --help lists them"
                self.error(f"expected an option, got {name}, which is none; {asked}")
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """One line on stderr, without argparse's usage, of which a job's takes a screen; ends the process with 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def _options_like(name: str, known: Sequence[str]) -> list[str]:
    """Options of which the words of a misspelt one are part, such as --num_rounds of --rounds; or the one like it."""
    words = set(name.strip("-").split("_"))
    longer = [option for option in known if words <= set(option.strip("-").split("_"))]
    return longer[:3] or difflib.get_close_matches(name, known, 1)


def _with_underscores(word: str, known: Collection[str]) -> str:
    """An option written with dashes as it is known; any other word as it is."""
    name, equals, value = word.partition("=")
    other = f"--{name[2:].replace('-', '_')}"
    return other + equals + value if name.startswith("--") and name not in known and other in known else word


def add_options(
    group: argparse._ActionsContainer,
    model: type[Settings],
    names: Collection[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """An option ``--name`` for every field; an option that is not given is absent from :func:`given_options`.

    Args:
        group: parser or argument group.
        model: whose fields.
        names: of the fields to take; None for all.
        defaults: what the help tells as default where it is not the field's own.
    """
    for name, field in model.model_fields.items():
        if names is not None and name not in names:
            continue
        default = (defaults or {}).get(name, field.get_default(call_default_factory=True))
        told = f"{(field.description or '').rstrip('.')}; default {'none' if default is None else default}"
        group.add_argument(
            f"--{name}",
            help=" ".join(told.split()).replace("%", "%%"),
            default=argparse.SUPPRESS,
            **_parsing(field.annotation),
        )


def given_options(args: argparse.Namespace, model: type[Settings]) -> dict[str, Any]:
    """The values of the model's fields that the command line gave."""
    return {name: getattr(args, name) for name in model.model_fields if hasattr(args, name)}


def _parsing(annotation: Any) -> dict[str, Any]:
    """Arguments that make argparse read a field of this type; other types than plain ones are given as JSON."""
    if get_origin(annotation) is Annotated:
        return _parsing(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _parsing(members[0]) if len(members) == 1 else {"type": _json_or_text, "metavar": "VALUE"}
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(annotation) is tuple:
        kinds = get_args(annotation)
        return {**_parsing(kinds[0]), "nargs": "+" if kinds[-1] is Ellipsis else len(kinds)}
    readers: dict[Any, Callable[[str], Any]] = {int: int, float: float, str: str}
    if annotation in readers:
        return {"type": readers[annotation]}
    return {"type": read_json_option, "metavar": "JSON"}


def read_json_option(text: str) -> Any:
    """A value given as JSON on the command line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        told = f"expected JSON such as '{{\"epsilon\": 1}}', got {text!r} ({error})"
        raise argparse.ArgumentTypeError(told) from error


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
