from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from sfumato.core.errors import UserError
from sfumato.owner import picture_file
from sfumato.owner.picture_file import SUFFIXES, facts_of, is_square, read_picture, shape_of


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


# ---------------------------------------------------------------- bounded memory

MEASURE = """
import os, struct, sys
from pathlib import Path
import numpy as np
from PIL import Image
from sfumato.owner import picture_file

W, H = 1600, 1250
folder, kinds = Path(sys.argv[1]), set(sys.argv[2:])
Image.init()

def write():
    smooth = Image.new("RGB", (40, 30), "red").resize((W, H))
    three = [Image.new("RGB", (W, H), colour) for colour in ("red", "green", "blue")]
    def save(name, image, **options):
        if name.split("-")[1].split(".")[-1] in kinds:
            image.save(folder / name, **options)
    for mode in ("1", "L", "P", "I;16", "LA", "RGB", "RGBA"):
        save(f"{mode}-a.png", Image.new(mode, (W, H)), **({"transparency": 0} if mode == "P" else {}))
    save("animated-b.png", three[0], compress_level=1, save_all=True, append_images=three[1:])
    save("animated-a.gif", three[0], save_all=True, append_images=three[1:])
    save("still-a.webp", smooth, method=0)
    save("animated-a.webp", three[0], save_all=True, append_images=three[1:], method=0)
    save("still-a.avif", smooth, speed=10)
    save("a-a.bmp", smooth)
    save("a-a.ppm", smooth)
    if "ppm" in kinds:
        (folder / "deep-b.ppm").write_bytes(b"P6 %d %d 65535 " % (W, H // 8) + bytes(6 * W * (H // 8)))
    for number, (mode, how) in enumerate([("RGB", {}), ("RGB", {"compression": "tiff_lzw"}), ("I;16", {"compression": "tiff_lzw"}),
                                          ("CMYK", {"compression": "tiff_deflate", "strip_size": 2**30})]):
        save(f"a-{number}.tif", Image.new(mode, (W, H)), **how)
    save("pages-a.tif", three[0], save_all=True, append_images=three[1:])
    save("full-a.jpg", smooth, subsampling=0)
    save("progressive-a.jpg", smooth, progressive=True, subsampling=0)
    save("sub-a.jpg", smooth, progressive=True, subsampling=2)
    save("cmyk-a.jpg", smooth.convert("CMYK"), progressive=True)

def peak():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

def apart(act):
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(0)
    os.waitpid(child, 0)

def measure(path):
    with picture_file._opened(path) as (image, file):
        full = image.width * image.height
        image.draft(None, (128, 128))
        estimate = picture_file.decoding_bytes(image, full, file)
    before = peak()
    assert picture_file.read_picture(path, size=64).shape == (64, 64, 3)
    print(path.name, estimate, peak() - before, flush=True)

apart(write)
picture_file.np.zeros(8).astype(float).round()
for path in sorted(folder.iterdir()):
    apart(lambda: measure(path))
"""
KINDS = ["png", "gif", "webp", "bmp", "ppm", "tif", "jpg", *(["avif"] if features.check("avif") else [])]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peaks are read from Linux's /proc")
def test_decoding_takes_no_more_than_is_reckoned(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path), *KINDS], capture_output=True, text=True, check=True)
    found = {name: (int(estimate), int(taken)) for name, estimate, taken in map(str.split, done.stdout.splitlines())}
    assert len(found) == len(list(tmp_path.iterdir())) >= 20, done.stderr
    for name, (estimate, taken) in found.items():
        assert taken < estimate + 10_000_000, (name, estimate, taken)
    assert max(taken for _, taken in found.values()) > 25_000_000  # they were measured


TOO_MANY = [("RGBA", "png", {}), ("I;16", "png", {}), ("P", "png", {"bits": 1, "transparency": 0}), ("CMYK", "tif", {}),
            ("RGB", "webp", {}), ("RGB", "jpg", {"progressive": True}),
            ("1", "tif", {"compression": "group4"}), ("P", "gif", {})]  # fmt: skip


@pytest.mark.parametrize(("mode", "suffix", "options"), TOO_MANY)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, suffix: str, options: dict[str, object]
) -> None:
    path = _saved(Image.new(mode, (1200, 400)), tmp_path / f"a.{suffix}", **options)
    monkeypatch.setattr(picture_file, "DECODED_BYTES", 300_000)
    monkeypatch.setattr(Image.Image, "crop", lambda *_: pytest.fail("it was decoded"))
    for look in (shape_of, lambda path: read_picture(path, size=8)):
        with pytest.raises(UserError, match=r"a\.\w+: 480,000 pixels") as error:
            look(path)
        allowed = int(error.value.expected.split(" pixels")[0].split()[-1].replace(",", ""))
        assert 5_000 < allowed < 480_000 and "memory" in error.value.expected
    assert not is_square(path)


def test_an_animation_of_a_huge_canvas_is_refused(tmp_path: Path) -> None:
    data = bytearray(
        _saved(Image.new("RGB", (8, 8)), tmp_path / "a.webp", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]).read_bytes()
    )
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (4_000_000).to_bytes(3, "little") + (39).to_bytes(3, "little")
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(UserError, match="pixels"):
        read_picture(tmp_path / "a.webp", size=8)


def test_files_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"a\.png: 1099511627776 bytes"):
        read_picture(tmp_path / "a.png", size=8)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "P", "RGBA"])
@pytest.mark.parametrize("shape", [(517, 300), (301, 1203), (64, 64), (640, 640)])
def test_blocks_first_comes_to_the_same_as_all_at_once(tmp_path: Path, mode: str, shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(shape, Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(image.convert("L"))
    else:
        image = image.convert(mode)
    path = _saved(image, tmp_path / "a.png")
    rgb = Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB") if mode == "I;16" else image
    if mode == "RGBA":
        rgb = Image.alpha_composite(Image.new("RGBA", shape, "white"), image)
    wanted = np.asarray(ImageOps.fit(rgb.convert("RGB"), (32, 32), method=Image.Resampling.LANCZOS)).astype(int)
    off = np.abs(read_picture(path, size=32).astype(int) - wanted)
    assert off.mean() < 1.5  # at the edges of the square nothing beyond it counts
    assert shape != (64, 64) or off.max() <= 1


@pytest.mark.parametrize("shape", [(3000, 9), (9, 3000), (70_000, 40), (1, 5), (1, 1)])
def test_extreme_proportions_are_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = _saved(Image.new("RGB", shape, (200, 40, 40)), tmp_path / "a.png")
    assert np.unique(read_picture(path, size=8).reshape(-1, 3), axis=0).tolist() == [[200, 40, 40]]


@pytest.mark.parametrize("turn", range(2, 9))
def test_every_orientation_is_applied(tmp_path: Path, turn: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = _saved(Image.fromarray(pixels), tmp_path / "a.png", exif=exif)
    with Image.open(path) as image:
        wanted = ImageOps.fit(ImageOps.exif_transpose(image), (8, 8), method=Image.Resampling.LANCZOS)
    assert np.abs(read_picture(path, size=8).astype(int) - np.asarray(wanted).astype(int)).mean() < 3
    assert shape_of(path) == ((24, 16) if turn >= 5 else (16, 24))


def test_a_padded_picture_is_whole_and_in_the_middle(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "wide.png")
    found = read_picture(tmp_path / "wide.png", size=16, crop="pad")
    assert found.shape == (16, 16, 3) and (found[4:12] == (255, 0, 0)).all() and (found[:4] == 255).all() and (found[12:] == 255).all()
    dark = read_picture(tmp_path / "wide.png", size=16, crop="pad", beside=0)
    assert (dark[:4] == 0).all() and (dark[4:12] == found[4:12]).all()
    Image.new("RGB", (3000, 1), "red").save(tmp_path / "line.png")
    assert read_picture(tmp_path / "line.png", size=16, crop="pad").shape == (16, 16, 3)


@pytest.mark.parametrize("crop", ["center", "pad", "none"])
def test_a_square_is_the_same_however_others_are_cut(tmp_path, crop):
    image = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png", size=24, crop=crop) == read_picture(tmp_path / "a.png", size=24)).all()


def test_nothing_is_cropped_where_that_was_asked_for(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "wide.png")
    with pytest.raises(UserError, match="wide.png: 40x20") as stop:
        read_picture(tmp_path / "wide.png", size=16, crop="none")
    assert "--crop pad" in str(stop.value)


def test_padding_turns_as_the_picture_is_shown(tmp_path):
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: what lies left is shown above
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png", size=16, crop="pad")
    assert tuple(found[2, 8]) == (255, 0, 0) and tuple(found[13, 8]) == (0, 0, 0) and tuple(found[8, 0]) == (255, 255, 255)


def test_a_header_tells_sides_and_frames(tmp_path):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.png")
    assert facts_of(tmp_path / "a.gif") == (6, 4, True) and facts_of(tmp_path / "b.png") == (6, 4, False)


def test_heic_is_named_and_not_listed_among_what_is_read(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(UserError, match="HEIC is not read") as stop:
        read_picture(tmp_path / "a.HEIC", size=16)
    assert "PNG or JPEG" in stop.value.fix and not {".heic", ".heif"} & SUFFIXES
