"""One picture file of any common kind to 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sfumato.core.errors import UserError

# Only formats whose decoders run no other program (EPS would start Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
# HEIC cannot be read: listing it turns a silent omission into an error with its cure.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif", ".heic", ".heif"})
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


def read_picture(path: Path, *, size: int) -> np.ndarray:
    """Read a picture as it is displayed.

    EXIF rotation is applied, transparency laid over white, palette, grey and 16-bit pictures brought to 8-bit RGB; of an
    animation the first frame is taken. Then the middle square is resized to ``size``.

    Returns:
        uint8 ``(size, size, 3)``.

    Raises:
        UserError: not a picture, damaged, too large or of a kind without a fixed range; names the file.
    """
    with _opened(path) as image:
        image.draft(None, (2 * size, 2 * size))  # lets a large JPEG be decoded at reduced size
        rgb = _eight_bit_rgb(ImageOps.exif_transpose(image))
        return np.array(ImageOps.fit(rgb, (size, size), method=Image.Resampling.LANCZOS), dtype=np.uint8)


def shape_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is displayed, without decoding it."""
    with _opened(path) as image:
        w, h = image.size
        return (h, w) if image.getexif().get(_ORIENTATION) in _ROTATED else (w, h)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except UserError as error:
        raise UserError(f"{path}: {error.got}", expected=error.expected, fix=error.fix) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too many pixels ({error})", fix="scale the picture down first") from error
    except Exception as error:  # decoders raise nearly anything on a damaged file
        raise UserError(
            f"{path}: could not be read as a picture ({type(error).__name__}: {error})",
            expected=f"an undamaged file of one of the formats {', '.join(FORMATS)}",
            fix="open it in a picture viewer and save it again as PNG or JPEG, or take it out of the folder",
        ) from error


def _eight_bit_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UserError("floating-point pixels, whose range is not fixed", expected="8 or 16 bits a channel", fix="save it with 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("pixels of more than 16 bits", expected="8 or 16 bits a channel", fix="save it with 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
