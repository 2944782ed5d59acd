"""Pictures that lie in a file's header, as the bytes that they are: nothing of them is decoded here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

_BEGINS = (
    (b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\0", "tif"), (b"MM\0*", "tif"),
)  # fmt: skip
_IN_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "AAAAIGZ0eXBhdmlm", "AAAAHGZ0eXBhdmlm")  # how those begin, without an address


class Picture(NamedTuple):
    """A picture of a header: the note it stands in, the suffix that its bytes deserve (``bin`` where they are none that is known)."""

    note: str
    suffix: str
    data: bytes


def pictures(notes: Mapping[str, str]) -> list[Picture]:
    """Every note that is a ``data:image/...;base64`` address, or base64 that begins as a picture does, by name."""
    found = []
    for note, said in sorted(notes.items()):
        head, comma, body = said.strip().partition(",")
        address = bool(comma) and head[:11].lower() == "data:image/" and head[-7:].lower() == ";base64"
        if not address and not said.strip().startswith(_IN_BASE64):
            continue
        text = body if address else said.strip()
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        if data:
            found.append(Picture(note, _suffix(data), data))
    return found


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return next((suffix for begin, suffix in _BEGINS if data.startswith(begin)), "bin")
