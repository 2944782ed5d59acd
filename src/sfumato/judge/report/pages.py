"""Self-contained pages: HTML with its pictures inside, and a PNG beside it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sfumato.core.artifact import write_atomic

_INK, _PAPER = "#222222", "#ffffff"


def contact_sheet(rows: list[tuple[str, np.ndarray]], *, side: int = 96, columns: int = 10) -> Image.Image:
    """Labelled rows of pictures; each row is a label and uint8 ``(N, H, W, 3)``."""
    font = ImageFont.load_default(13)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, len(rows) * (side + 24)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (label, images) in enumerate(rows):
        top = number * (side + 24)
        draw.text((4, top + 3), label, fill=_INK, font=font)
        for column, image in enumerate(images[:columns]):
            tile = Image.fromarray(image).resize(
                (side, side), Image.Resampling.LANCZOS if image.shape[0] > side else Image.Resampling.BICUBIC
            )
            sheet.paste(tile, (4 + column * (side + 4), top + 20))
    return sheet


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
    """Render ``judge/report/templates/<template>`` and write it atomically."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("sfumato.judge.report"), autoescape=True, undefined=StrictUndefined)
    write_atomic(path, environment.get_template(template).render(**values).encode())
