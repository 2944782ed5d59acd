"""The header of a safetensors file from anybody: read without trusting a number in it, and without touching a tensor.

A file is 8 bytes of length, that much JSON, and the tensors' bytes. The JSON names every tensor's type, shape and place, and holds free
notes, ``__metadata__``, which loaders ignore and uploaders forget.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sfumato.core.artifact import NO_PICKLE, kind_of
from sfumato.core.errors import UserError

HEADER_BYTES = 2**25  # a thumbnail and ten thousand captions fit into a tenth of it
_EXPECTED = "a LoRA as .safetensors"
_AGAIN = "fetch the file again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What stands in it.

    Attributes:
        notes: of ``__metadata__``; what is no text there (which no loader accepts) is given as JSON.
        tensors: by name, type and shape.
        hidden: bytes of the file that belong to no tensor.
    """

    notes: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    hidden: int


def read_header(data: bytes, *, name: str = "the file") -> Header:
    """Read a file's header; ``name`` names it in errors.

    Raises:
        UserError: no safetensors file (a pickle is named as such), a header that is cut short, too long or no plain JSON, or tensors that
            reach beyond the file's end.
    """
    size = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{":
        kind = kind_of(data)
        fix = NO_PICKLE if "pickle" in kind else _AGAIN
        raise UserError(f"{name}: {kind}", expected=_EXPECTED, fix=fix)
    if size > HEADER_BYTES:
        raise UserError(f"{name}: says that its header has {size} bytes", expected=f"at most {HEADER_BYTES}", fix="do not load it")
    if size > len(data) - 8:
        raise UserError(f"{name}: cut short: its header has {size} bytes, the whole file {len(data)}", expected=_EXPECTED, fix=_AGAIN)
    try:
        said = json.loads(data[8 : 8 + size].decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: its header cannot be read ({str(error)[:200]})", expected=_EXPECTED, fix=_AGAIN) from error
    notes = said.pop("__metadata__", {})
    if not isinstance(notes, dict):
        raise UserError(f"{name}: its notes are no object", expected=_EXPECTED, fix="do not load it")
    places = {key: _place(entry, key, name) for key, entry in said.items()}
    body, covered = len(data) - 8 - size, 0
    for key, (_, _, _, end) in places.items():
        if end > body:
            raise UserError(f"{name}: cut short: {key[:80]} ends at byte {end} of {body}", expected=_EXPECTED, fix=_AGAIN)
    at = 0
    for begin, end in sorted((begin, end) for _, _, begin, end in places.values()):
        covered += max(0, end - max(at, begin))
        at = max(at, end)
    return Header(
        notes={key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()},
        tensors={key: (kind, shape) for key, (kind, shape, _, _) in places.items()},
        hidden=body - covered,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that occurs twice could hide from one reader what another one sees."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in it")
    return found


def _place(entry: Any, key: str, name: str) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, begin and end of one tensor."""
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        kind, shape, begin, end = None, (), 0, 0
    whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 0 for x in (*shape, begin, end))
    if not isinstance(kind, str) or not whole or begin > end:
        raise UserError(f"{name}: its header does not say what {key[:80]} is", expected="type, shape and place of every tensor", fix=_AGAIN)
    return kind, shape, begin, end
