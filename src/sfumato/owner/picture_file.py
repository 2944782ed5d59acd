"""One picture file of any common kind to 8-bit RGB, in bounded memory whatever the file claims to be."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from sfumato.core.errors import UserError
from sfumato.core.outside import read_bytes

# Only formats whose decoders run no other program (EPS would start Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp", ".bmp", ".dib",
    ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs",
))  # fmt: skip
UNREAD = frozenset((".heic", ".heif"))  # pictures that are not read: each is named, with its cure, and none passed over as no picture
Crop = Literal["center", "pad", "none"]
CROPS: tuple[Crop, ...] = ("center", "pad", "none")  # the middle square; white beside the picture; squares alone
CROP: Crop = "center"
WHITE, BLACK = 255, 0  # beside a padded picture, and beside its condition, which is light on dark
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")  # formats whose further frames are pictures (a JPEG's are previews)
FILE_BYTES = 2**28
# What decoding one picture may hold at once, its file included. What is made of it after that takes little.
DECODED_BYTES = 450_000_000
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # as Pillow holds them; others 4
# What a decoder holds beside the picture, bytes a pixel: canvases, planes. The tests measure it.
_BESIDE = {"PNG": 0, "GIF": 1, "BMP": 2, "PPM": 8, "AVIF": 10, "WEBP": 12}
_ROWS, _TILE_SIDES, _SAMPLES = 278, (322, 323), 8  # TIFF tags: rows of a strip, sides of a tile; most bytes of a pixel
NOT_SQUARE = "cut it to a square yourself, or take --crop center or --crop pad"
_GAP = 4  # a picture is averaged over blocks down to this many times the wanted side, then resized with care
_STRIP = 2**17  # pixels that are worked on at once
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class Facts(NamedTuple):
    """What a picture's header says: its sides as they are stored, and whether there are further frames, which are not read."""

    width: int
    height: int
    animated: bool


def crop_of(value: str) -> Crop:
    """``value``, where it is one. Raises UserError with those that there are."""
    for crop in CROPS:
        if value == crop:
            return crop
    raise UserError(f"--crop {value!r}", expected=" or ".join(CROPS))


def read_picture(path: Path, *, size: int, crop: Crop = CROP, beside: int = WHITE) -> np.ndarray:
    """Read a picture as it is displayed.

    EXIF rotation is applied, transparency laid over white, palette, grey and 16-bit pictures brought to 8-bit RGB; of an
    animation the first frame is taken. Then the middle square is resized to ``size``; with ``pad`` the whole picture, with the grey
    ``beside`` where it is no square, and with ``none`` a square picture alone.

    Returns:
        uint8 ``(size, size, 3)``.

    Raises:
        UserError: not a picture, damaged, too large or of a kind without a fixed range, or no square with ``none``; names the file.
    """
    with _opened(path) as (image, file):
        full = image.width * image.height
        image.draft(None, (2 * size, 2 * size))  # lets a large JPEG be decoded at reduced size
        _check_pixels(image, full, file)
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        if crop == "none" and image.width != image.height:
            raise UserError(f"{image.width}x{image.height} pixels, and nothing may be cropped", expected="a square picture", fix=NOT_SQUARE)
        square = _whole(image, size) if crop == "pad" else _middle_square(image, size)
        if turn is not None:
            square = square.transpose(turn)
        if crop == "pad":
            square = _padded(square, size, beside)
        return np.array(ImageOps.fit(square, (size, size), method=Image.Resampling.LANCZOS), dtype=np.uint8)


def shape_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is displayed."""
    with _opened(path) as (image, file):
        w, h = image.size
        image.draft(None, (1, 1))
        _check_pixels(image, w * h, file)  # looking for a PNG's orientation may decode it
        return (h, w) if image.getexif().get(_ORIENTATION) in _ROTATED else (w, h)


def facts_of(path: Path) -> Facts:
    """What the header of a picture says. No pixel is decoded."""
    with _opened(path) as (image, _):
        return Facts(image.width, image.height, image.format in _ANIMATED and bool(getattr(image, "is_animated", False)))


def is_square(path: Path) -> bool:
    """Whether nothing of a picture is cropped away. Nothing is decoded."""
    with _opened(path) as (image, _):
        return image.width == image.height


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, int]]:
    data = read_bytes(path, what="a picture", limit=FILE_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures, which are counted here, and odd notes in files
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                yield image, len(data)
    except UserError as error:
        raise UserError(f"{path}: {error.got}", expected=error.expected, fix=error.fix) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: too many pixels ({error})",
            expected=f"at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels",
            fix="scale the picture down first",
        ) from error
    except Exception as error:
        if path.suffix.lower() in UNREAD:
            raise UserError(
                f"{path}: HEIC is not read",
                expected=f"one of the formats {', '.join(FORMATS)}",
                fix="save it as PNG or JPEG, or take it out of the folder",
            ) from error
        # decoders raise nearly anything on a damaged file
        raise UserError(
            f"{path}: could not be read as a picture ({type(error).__name__}: {error})",
            expected=f"an undamaged file of one of the formats {', '.join(FORMATS)}",
            fix="open it in a picture viewer and save it again as PNG or JPEG, or take it out of the folder",
        ) from error


def _check_pixels(image: Image.Image, full: int, file: int) -> None:
    """Refuse, before it is decoded, what would take more than ``DECODED_BYTES``."""
    needed = decoding_bytes(image, full, file)
    if needed > DECODED_BYTES:
        raise UserError(
            f"{full:,} pixels in a {image.format} file of mode {image.mode}",
            expected=f"at most {DECODED_BYTES * full // needed:,} pixels of that kind, so that it fits into memory",
            fix="scale the picture down first",
        )


def decoding_bytes(image: Image.Image, full: int, file: int) -> int:
    """What decoding takes at most, beside a few megabytes.

    Args:
        image: opened, not decoded; a JPEG perhaps drafted.
        full: its pixels before any draft.
        file: the bytes of its file.
    """
    held = _PIXEL_BYTES.get(image.mode, 4) * image.width * image.height + file
    if image.format == "TIFF":
        return held + file + _SAMPLES * _piece(image, full)
    layers = getattr(image, "layer", None)
    if layers is None:
        return held + _BESIDE.get(str(image.format), max(_BESIDE.values())) * full
    # A JPEG in several passes keeps all its coefficients, and how many passes there are nobody knows before.
    each = [across * down for _, across, down, *_ in layers]
    most = max((across for _, across, *_ in layers), default=1) * max((down for _, _, down, *_ in layers), default=1)
    return held + 2 * full * sum(each) // max(1, most)


def _piece(image: Image.Image, full: int) -> int:
    """Pixels of the largest piece of a TIFF that is decoded at once."""
    tags = getattr(image, "tag_v2", {})
    try:
        if _TILE_SIDES[0] in tags:
            return int(tags[_TILE_SIDES[0]]) * int(tags[_TILE_SIDES[1]])
        return min(full, int(tags[_ROWS]) * image.width)
    except (KeyError, TypeError, ValueError):
        return full


def _middle_square(image: Image.Image, size: int) -> Image.Image:
    """The middle square in 8-bit RGB, averaged over blocks down to ``_GAP * size`` or a little more."""
    side = min(image.size)
    block = max(1, side // (_GAP * size))
    whole = side // block * block
    left, top = (image.width - whole) // 2, (image.height - whole) // 2
    return _reduced(image, (left, top, left + whole, top + whole), block)


def _whole(image: Image.Image, size: int) -> Image.Image:
    """All of a picture in 8-bit RGB, its longer side averaged over blocks as ``_middle_square`` does with the shorter."""
    return _reduced(image, (0, 0, image.width, image.height), max(1, max(image.size) // (_GAP * size)))


def _padded(image: Image.Image, size: int, beside: int) -> Image.Image:
    """A picture in the middle of a square of side ``size``, grey beside it."""
    scale = size / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (size, size), (beside,) * 3)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return square


def _reduced(image: Image.Image, box: tuple[int, int, int, int], block: int) -> Image.Image:
    """``box`` of a picture averaged over blocks; worked on in strips, so that nothing but the decoded picture is ever held whole."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    rows = max(1, _STRIP // width // block) * block
    found = Image.new("RGB", (-(-width // block), -(-height // block)))
    for y in range(0, height, rows):
        strip = image.crop((left, top + y, right, top + min(height, y + rows)))
        found.paste(_eight_bit_rgb(strip).reduce(block), (0, y // block))
    return found


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
