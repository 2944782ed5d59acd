"""The header of a safetensors file from anybody: read before its tensors are, and without trusting a number in it.

A file is 8 bytes of length, that much JSON, and the tensors' bytes. The JSON names every tensor's type, shape and place, and holds free
notes, ``__metadata__``, which loaders ignore and uploaders forget.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json

HEADER_BYTES = 2**25  # a thumbnail and ten thousand captions fit into a tenth of it
NO_PICKLE = "never load a pickle of somebody else's: it runs code; ask for .safetensors"
AGAIN = "fetch the file again; it may be cut short"
_EXPECTED = "tensors as .safetensors"
NAME = 1000  # characters in the name of a tensor
_BITS = {  # of every type that the format has
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16,
    "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_KEYS = frozenset(("dtype", "shape", "data_offsets"))
_LARGEST = 2**62  # numbers of one tensor, a side of no length counted as one: beyond it libraries overflow
_NO_LOADER = "do not load it: no program writes such a file"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What stands in it.

    Attributes:
        notes: of ``__metadata__``; what is no text there (which no loader accepts) is given as JSON.
        tensors: by name, type and shape.
        hidden: bytes of the file that belong to no tensor.
        beside: what tensors' entries hold beyond type, shape and place, which loaders do not look at, as JSON by tensor.
        places: by name, the bytes of the file that are the tensor: where they begin and end.
    """

    notes: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    hidden: int
    beside: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_header(data: bytes, *, name: str = "the file", size: int | None = None) -> Header:
    """Read a file's header; ``name`` names it in errors.

    Args:
        data: the file, or as much of it as holds the header.
        size: of the whole file, in bytes, where ``data`` is its beginning alone.

    Raises:
        UserError: no safetensors file (a pickle is named as such), a header that is cut short, too long or no plain JSON, or tensors that
            reach beyond the file's end.
    """
    whole = len(data) if size is None else size
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{":
        kind = kind_of(data, whole)
        fix = NO_PICKLE if "pickle" in kind else AGAIN if whole < 10 else "check that it is the file that you mean"
        raise UserError(f"{name}: {kind}", expected=_EXPECTED, fix=fix)
    if length > HEADER_BYTES:
        raise UserError(f"{name}: says that its header has {length} bytes", expected=f"at most {HEADER_BYTES}", fix=_NO_LOADER)
    if length > whole - 8:
        raise UserError(f"{name}: cut short: its header has {length} bytes, the whole file {whole}", expected=_EXPECTED, fix=AGAIN)
    said = parse_json(data[8 : 8 + length], name=name, what="header of a safetensors file")
    notes = said.pop("__metadata__", None) or {}
    if not isinstance(notes, dict):
        raise UserError(f"{name}: its notes are no object", expected=_EXPECTED, fix=_NO_LOADER)
    places = {key: _place(entry, key, name) for key, entry in said.items()}
    body, covered, at = whole - 8 - length, 0, 0
    for key, (_, _, _, end) in places.items():
        if end > body:
            raise UserError(f"{name}: cut short: {key[:80]} ends at byte {end} of {body}", expected=_EXPECTED, fix=AGAIN)
    for begin, end in sorted((begin, end) for _, _, begin, end in places.values()):
        covered += max(0, end - max(at, begin))
        at = max(at, end)
    return Header(
        notes={key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()},
        tensors={key: (kind, shape) for key, (kind, shape, _, _) in places.items()},
        hidden=body - covered,
        beside={key: json.dumps(more) for key, entry in said.items() if (more := {k: v for k, v in entry.items() if k not in _KEYS})},
        places={key: (8 + length + begin, 8 + length + end) for key, (_, _, begin, end) in places.items()},
    )


def check_header(data: bytes, *, name: str, size: int | None = None) -> None:
    """``read_header`` for whoever wants the tensors: its errors say that the file cannot be read, and why."""
    try:
        read_header(data, name="it", size=size)
    except UserError as error:
        got = f"{name}: not a readable safetensors file ({error.got.removeprefix('it: ')})"
        raise UserError(got, expected=error.expected, fix=error.fix) from error


def header_bytes(start: bytes) -> int:
    """How many bytes of a file hold its header, as its first eight say: as many as ``read_header`` wants, and no more than it takes."""
    return 8 + min(int.from_bytes(start[:8], "little"), HEADER_BYTES)


def kind_of(data: bytes, size: int | None = None) -> str:
    """What a file is that is no safetensors file, as far as its first bytes say."""
    whole = len(data) if size is None else size
    if data[:4] == b"PK\x03\x04":
        return "a zip archive, such as PyTorch's pickle files are"
    if re.match(rb"\x80[\x02-\x05]", data):
        return "a pickle"
    return f"only {whole} bytes" if whole < 10 else "no safetensors file"


def _place(entry: Any, key: str, name: str) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, begin and end of one tensor."""
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        kind, shape, begin, end = None, (), 0, 0
    whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 0 for x in (*shape, begin, end))
    if len(key) > NAME:
        raise UserError(f"{name}: a tensor whose name has {len(key)} characters", expected=f"at most {NAME}", fix=_NO_LOADER)
    if not isinstance(kind, str) or not whole or begin > end or not max((*shape, math.prod(x or 1 for x in shape))) < _LARGEST:
        raise UserError(
            f"{name}: its header does not say what {key[:80]} is", expected="type, shape and place of every tensor", fix=_NO_LOADER
        )
    if kind in _BITS and (end - begin) * 8 != -(-math.prod(shape) * _BITS[kind] // 8) * 8:
        got = f"{name}: {key[:80]} takes {end - begin} bytes, which its type and shape do not"
        raise UserError(got, expected="as many bytes as its numbers take", fix=_NO_LOADER)
    if kind not in _BITS:
        raise UserError(f"{name}: {key[:80]} is of type {kind[:20]!r}", expected=f"one of {', '.join(sorted(_BITS))}", fix=_NO_LOADER)
    return kind, shape, begin, end
