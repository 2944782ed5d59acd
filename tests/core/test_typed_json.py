"""Dataclasses to JSON, back, and their schema: what one says the others take."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import jsonschema
import pytest

from sfumato.core import typed_json
from sfumato.core.errors import UserError
from sfumato.core.typed_json import OMITTED, plain, read


class Colour(StrEnum):
    red = "red"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part.

    Attributes:
        n: how many.
    """

    n: int
    pair: tuple[float, float] | None = None
    note: str | None = field(default=None, metadata=OMITTED)
    parts: dict[str, "Part"] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole."""

    schema: Literal[1] = 1
    parts: dict[str, Part]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Other:
    """Another."""

    flag: bool


WHOLE = Whole(parts={"a": Part(n=1, pair=(0.5, 2.0)), "b": Part(n=2, note="x", parts={"c": Part(n=3)})}, names=("p", "q"))
SCHEMA = typed_json.schema([Whole, Other], title="either")


def test_what_is_none_is_null_or_absent_as_the_field_says():
    assert plain(WHOLE) == {
        "schema": 1, "names": ["p", "q"],
        "parts": {"a": {"n": 1, "pair": [0.5, 2.0]}, "b": {"n": 2, "pair": None, "note": "x", "parts": {"c": {"n": 3, "pair": None}}}},
    }  # fmt: skip


def test_paths_and_choices_are_text_and_the_rest_stays():
    assert plain({1: Path("a/b"), "c": (Colour.red, 1.5, None, True)}) == {"1": "a/b", "c": ["red", 1.5, None, True]}


def test_what_is_written_is_read_as_the_same():
    assert read(json.loads(json.dumps(plain(WHOLE))), Whole, what="it") == WHOLE
    assert read({"flag": True, "later": 1}, Other, what="it") == Other(flag=True)  # of a later version


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "parts"),
        ({"parts": {"a": {"n": "1"}}}, r"parts\[\.\.\.\]\.n"),
        ({"parts": {"a": {"n": True}}}, "bool"),
        ({"parts": {}, "schema": 2}, "schema"),
        ([], "object"),
    ],
)
def test_a_wrong_type_is_refused_and_its_place_named(found, said):
    with pytest.raises(UserError, match=rf"(?s)it: .*{said}"):
        read(found, Whole, what="it")


def test_the_schema_takes_what_is_written():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for value in (WHOLE, Other(flag=False)):
        jsonschema.validate(plain(value), SCHEMA)
    assert SCHEMA["$defs"]["Part"]["description"] == "A part.\n\nAttributes:\n    n: how many."


def without(*path):
    value = plain(WHOLE)
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return value


@pytest.mark.parametrize(
    "wrong",
    [without("schema"), without("names"), without("parts", "a", "pair"), without("parts", "b", "parts", "c", "n"), {"flag": 1}, {}],
)
def test_the_schema_refuses_what_is_never_written(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
