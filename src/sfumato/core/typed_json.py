"""Typed results as JSON, JSON as typed results, and the schema of either: one way for all of them.

A result is a frozen dataclass. ``plain`` makes JSON of it, ``read`` makes it of JSON, ``schema`` says
what both look like. ``msgspec`` does the reading and the schemas: it takes the standard library's
dataclasses as they are, checks every type on the way in and names the place that is wrong, loads in
some milliseconds, and needs no other package. (``pydantic`` and ``cattrs`` would want classes or
converters of their own, and the first is slow to load.)

A field that is not always there is ``field(default=None, metadata=OMITTED)``: None in Python, and
absent in JSON.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from sfumato.core.errors import UserError

T = TypeVar("T")
OMITTED = {"omit": True}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def plain(value: Any) -> Any:
    """What ``json.dumps`` takes: dicts, lists, strings, numbers; dataclasses by their fields, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: plain(one) for field, one in pairs if one is not None or not field.metadata.get("omit")}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def read(value: Any, kind: type[T], *, what: str) -> T:
    """A ``kind`` of what ``json.loads`` gave; keys that it does not have are passed over.

    Raises:
        UserError: something is missing or of another type; the message says where.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{what}: {error}", expected=f"what this version writes ({kind})") from error


def schema(kinds: Sequence[type], *, title: str) -> dict[str, Any]:
    """The JSON schema of an object that is one of several dataclasses.

    Every field is required but those that are ``OMITTED``. Further fields are allowed: a later
    version may say more without another number in ``schema``.
    """
    refs, parts = msgspec.json.schema_components(list(kinds), ref_template="#/$defs/{name}")
    for each in _all(kinds):
        part = parts[each.__name__]  # two of one name in one schema would be a KeyError here
        part["description"] = inspect.cleandoc(each.__doc__ or "")
        part["required"] = [field.name for field in dataclasses.fields(each) if not field.metadata.get("omit")]
    body = dict(refs[0]) if len(refs) == 1 else {"anyOf": list(refs)}
    return {"$schema": DIALECT, "title": title, **body, "$defs": {name: parts[name] for name in sorted(parts)}}


def _all(kinds: Sequence[Any]) -> list[Any]:
    """Dataclasses, and all that their fields are made of."""
    found: list[Any] = []
    left = list(kinds)
    while left:
        kind = left.pop()
        if get_origin(kind) is not None or not isinstance(kind, type):
            left += get_args(kind)
        elif dataclasses.is_dataclass(kind) and kind not in found:
            found.append(kind)
            left += get_type_hints(kind).values()
    return found
