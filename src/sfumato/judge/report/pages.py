"""Self-contained pages: HTML with its pictures inside, and a PNG beside it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sfumato.core.artifact import write_atomic
from sfumato.judge.report import words

_INK, _PAPER = "#222222", "#ffffff"


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of pictures of a page: its label, which the page writes, and the picture as text."""

    label: str
    url: str


def strips(rows: list[tuple[str, np.ndarray]], *, side: int = 96, columns: int = 10) -> list[Strip]:
    """Rows of pictures for a page; each is a label and uint8 ``(N, H, W, 3)``."""
    found = []
    for label, images in rows:
        strip = Image.new("RGB", (max(1, min(columns, len(images))) * (side + 4), side), _PAPER)
        for column, image in enumerate(images[:columns]):
            strip.paste(_tile(image, side), (column * (side + 4), 0))
        found.append(Strip(label, data_url(strip)))
    return found


def contact_sheet(rows: list[tuple[str, np.ndarray]], *, side: int = 96, columns: int = 10) -> Image.Image:
    """Labelled rows of pictures in one picture, for a file that stands alone; each row is a label and uint8 ``(N, H, W, 3)``."""
    font = ImageFont.load_default(13)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, len(rows) * (side + 24)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (label, images) in enumerate(rows):
        top = number * (side + 24)
        draw.text((4, top + 3), label, fill=_INK, font=font)
        for column, image in enumerate(images[:columns]):
            sheet.paste(_tile(image, side), (4 + column * (side + 4), top + 20))
    return sheet


def _tile(image: np.ndarray, side: int) -> Image.Image:
    how = Image.Resampling.LANCZOS if image.shape[0] > side else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize((side, side), how)


def named(label: str) -> str:
    """``label`` as a part of a file's name on any system."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", label)


def keep(path: Path, images: np.ndarray, *, count: int = 10) -> None:
    """Keep the first ``count`` of uint8 ``(N, H, W, 3)`` for a sheet that is drawn later."""
    buffer = io.BytesIO()
    np.save(buffer, images[:count])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def png(image: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_url(image: Image.Image) -> str:
    """A picture as text, to be put into a page."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def write_page(path: Path, template: str, values: dict[str, Any]) -> None:
    """Render ``judge/report/templates/<template>``, which fills ``assets/pages/base.html``, and write it atomically."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader("sfumato.judge.report"), PackageLoader("sfumato", "assets/pages")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["plainly"] = words.plainly
    write_atomic(path, environment.get_template(template).render(**values).encode())
