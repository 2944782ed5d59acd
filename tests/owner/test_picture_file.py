from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.core.errors import UserError
from sfumato.owner.picture_file import read_picture, shape_of


def _saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_rgb_comes_back_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    read = read_picture(_saved(Image.fromarray(pixels), tmp_path / "a.png"), size=16)
    assert read.dtype == np.uint8 and np.array_equal(read, pixels)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB"])
def test_modes_come_out_as_rgb(tmp_path: Path, mode: str) -> None:
    path = _saved(Image.new("RGB", (16, 16), "white").convert(mode), tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    read = read_picture(path, size=8)
    assert read.shape == (8, 8, 3) and read.min() >= 254


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 16).round().astype(np.uint16), (16, 1))
    read = read_picture(_saved(Image.fromarray(ramp), tmp_path / "a.png"), size=16)
    assert np.array_equal(read[3, :, 1], np.round(np.linspace(0, 255, 16)).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    assert read_picture(_saved(Image.new(mode, (8, 8)), tmp_path / "a.png"), size=8).min() == 255


def test_palette_transparency_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert read_picture(_saved(image, tmp_path / "a.png", transparency=0), size=8).min() == 255


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed a quarter turn clockwise: white to the right
    read = read_picture(_saved(Image.fromarray(pixels), tmp_path / "a.jpg", exif=exif, quality=100), size=32)
    assert read[:, 20:].min() > 250 and read[:, :12].max() < 5


def test_shape_is_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    assert shape_of(_saved(Image.new("RGB", (30, 20)), tmp_path / "a.jpg", exif=exif)) == (20, 30)


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 200
    assert np.unique(read_picture(_saved(Image.fromarray(pixels), tmp_path / "a.png"), size=8)).tolist() == [200]


def test_a_large_jpeg_is_read(tmp_path: Path) -> None:
    read = read_picture(_saved(Image.new("RGB", (1200, 900), (10, 200, 30)), tmp_path / "a.jpg", quality=95), size=16)
    assert read.shape == (16, 16, 3) and abs(int(read[8, 8, 1]) - 200) < 4


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_damaged_files_are_named(tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("broken.png", "broken.jpg"):
        path = _saved(Image.fromarray(noise), tmp_path / name)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
        with pytest.raises(UserError, match=name) as caught:
            read_picture(path, size=16)
        assert caught.value.fix


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(UserError, match="could not be read as a picture"):
        read_picture(path, size=8)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = _saved(Image.fromarray(np.ones((8, 8), np.float32)), tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: floating-point"):
        read_picture(path, size=8)


def test_more_than_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = _saved(Image.fromarray(np.full((8, 8), 100000, np.int32)), tmp_path / "a.tif")
    with pytest.raises(UserError, match="more than 16 bits"):
        read_picture(path, size=8)
