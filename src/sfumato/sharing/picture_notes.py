"""What a picture file says beside its pixels: prompts of whoever drew it, and where a camera stood. No pixel is decoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from sfumato.sharing.finding import Finding
from sfumato.sharing.rules import found

_PROMPTS = ("parameters", "prompt", "workflow", "dream", "sd-metadata", "invokeai_metadata", "comment", "description", "sfumato")
# EXIF: where; its inner part; description, comment, artist.
_GPS, _INNER, _TEXTS = 0x8825, 0x8769, (0x010E, 0x9286, 0x013B)


def of_picture(path: Path, shown: str) -> list[Finding]:
    """Findings of one picture's notes; a picture that cannot be read says nothing here."""
    try:
        with Image.open(path) as picture:
            notes = {str(key): value for key, value in picture.info.items() if isinstance(value, str | bytes)}
            exif = picture.getexif()
            inner, place = exif.get_ifd(_INNER), exif.get_ifd(_GPS)
    except Exception:  # of a file that is none, libraries raise whatever comes: the picture itself is a finding already
        return []
    said = [f"{key}: {_plain(value)}" for key, value in notes.items() if key.lower() in _PROMPTS and _plain(value).strip()]
    said += [_plain(value) for part in (exif, inner) for tag in _TEXTS if isinstance(value := part.get(tag), str | bytes) and value]
    findings = [found("picture-prompt", shown, said)] if said else []
    return findings + ([found("location", shown)] if place else [])


def _plain(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    if value.startswith(b"UNICODE\0"):  # how EXIF names what follows
        return value[8:].decode("utf-16-be" if value[8:9] == b"\0" else "utf-16-le", errors="replace")
    return value.removeprefix(b"ASCII\0\0\0").decode("utf-8", errors="replace")
