"""What a picture file says beside its pixels: prompts of whoever drew it, and where a camera stood. No pixel is decoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sfumato.sharing.finding import Finding
from sfumato.sharing.rules import found

_PROMPTS = ("parameters", "prompt", "workflow", "dream", "sd-metadata", "invokeai_metadata", "comment", "description", "sfumato")
_GPS, _TEXTS = 0x8825, (0x010E, 0x9286, 0x013B)  # EXIF: where; description, comment, artist


def of_picture(path: Path, shown: str) -> list[Finding]:
    """Findings of one picture's notes; a picture that cannot be read says nothing here."""
    try:
        with Image.open(path) as picture:
            notes = {str(key): value for key, value in picture.info.items() if isinstance(value, str | bytes)}
            exif = picture.getexif()
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return []
    said = [f"{key}: {_plain(value)}" for key, value in notes.items() if key.lower() in _PROMPTS and _plain(value).strip()]
    said += [str(exif[tag]) for tag in _TEXTS if exif.get(tag)]
    findings = [found("picture-prompt", shown, said)] if said else []
    return findings + ([found("location", shown)] if exif.get_ifd(_GPS) else [])


def _plain(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")
