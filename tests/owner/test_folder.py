from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.conditions import canny
from sfumato.core.errors import UserError
from sfumato.owner.folder import read_folder

RED, WHITE = (200, 40, 40), (255, 255, 255)


def _picture(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (20, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def _jsonl(folder: Path, *rows: object) -> None:
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for stem in ("a", "b"):
        _picture(tmp_path / "images" / f"{stem}.png")
        _picture(tmp_path / "conditions" / f"{stem}.jpg", WHITE)
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "a.txt").write_text("  a red square\n")
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    _picture(tmp_path / "train" / "a.png")
    _picture(tmp_path / "edges" / "a.png", WHITE)
    _jsonl(tmp_path, {"file_name": "train/a.png", "conditioning_image_file_name": "edges/a.png", "text": "a red square"})
    return tmp_path


def test_pairs_are_matched_by_stem(pairs: Path) -> None:
    folder = read_folder(pairs, size=16, condition="given")
    first, second = [folder.load(example) for example in folder]
    assert first.image.shape == first.condition.shape == (16, 16, 3) and first.image.dtype == first.condition.dtype == np.uint8
    assert first.condition.min() > 250 and first.image[8, 8].tolist() == list(RED)
    assert (first.caption, second.caption) == ("a red square", "") and folder.captioned == 1 and len(folder) == 2


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_imagefolder_metadata(table: Path, kind: str) -> None:
    if kind == "csv":
        (table / "metadata.jsonl").unlink()
        (table / "metadata.csv").write_text(
            '\ufefffile_name,conditioning_image_file_name,text\ntrain/a.png,edges/a.png,"red, square"\n', encoding="utf-8"
        )
    (example,) = folder = read_folder(table, size=8, condition="given")
    loaded = folder.load(example)
    assert loaded.caption == {"jsonl": "a red square", "csv": "red, square"}[kind] and loaded.condition.min() == 255


def test_a_plain_folder_gets_extracted_conditions(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:24, 8:24] = 255
    Image.fromarray(pixels).save(tmp_path / "B.PNG")
    _picture(tmp_path / "a.jpg")
    _picture(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    folder = read_folder(tmp_path, size=32, condition="canny")
    assert [example.path.name for example in folder] == ["B.PNG", "a.jpg"]
    loaded = folder.load(next(iter(folder)))
    assert np.array_equal(loaded.condition, canny.extract(pixels)) and loaded.caption == ""


def test_supplied_conditions_are_not_opened_when_another_is_named(pairs: Path) -> None:
    (pairs / "conditions" / "a.jpg").write_bytes(b"damaged")
    folder = read_folder(pairs, size=16, condition="canny")
    assert [folder.load(example).condition.max() for example in folder] == [0, 0]


def test_listing_opens_no_picture(pairs: Path) -> None:
    for path in (pairs / "images").iterdir():
        path.write_bytes(b"")
    assert len(read_folder(pairs, size=16, condition="given")) == 2


def test_bad_files_can_be_skipped_and_reported(pairs: Path) -> None:
    (pairs / "images" / "a.png").write_bytes(b"damaged")
    folder = read_folder(pairs, size=16, condition="canny")
    good, reports = [], []
    for example in folder:
        try:
            good.append(folder.load(example))
        except UserError as report:
            reports.append(report)
    assert len(good) == 1 and len(reports) == 1 and "a.png" in reports[0].got and reports[0].fix


# ---------------------------------------------------------------- what users trip over


def _refused(folder: Path, match: str, condition: str = "canny") -> UserError:
    with pytest.raises(UserError, match=match) as caught:
        read_folder(folder, size=16, condition=condition)
    return caught.value


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere", "no such folder")
    _refused(_picture(tmp_path / "a.png"), "a file")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    assert "train" in _refused(tmp_path / "empty", "no pictures").got
    (tmp_path / "empty" / "metadata.jsonl").write_text("\n")
    _refused(tmp_path / "empty", "no rows")


def test_no_images_in_pairs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    _refused(tmp_path, "no pictures")


def test_given_needs_conditions_in_every_layout(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (pairs / "conditions" / "b.jpg").unlink()
    assert "b.png" in _refused(pairs, "no condition for 1 of 2", "given").got
    plain = tmp_path_factory.mktemp("plain")
    _picture(plain / "a.png")
    assert "conditioning_image_file_name" in _refused(plain, "without conditions", "given").expected
    _jsonl(plain, {"file_name": "a.png", "text": "x"})
    error = _refused(plain, "no `conditioning_image_file_name`", "given")
    assert "line 1" in error.got and "file_name, text" in error.got


def test_missing_file_name_column(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    _jsonl(tmp_path, {"image": "a.png"})
    assert "image" in _refused(tmp_path, "no `file_name`").got


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "{absolute}", "link.png", "nul\0.png"])
def test_nothing_outside_is_followed(tmp_path: Path, name: str) -> None:
    secret, folder = _picture(tmp_path / "secret.png"), tmp_path / "mine"
    folder.mkdir()
    (folder / "link.png").symlink_to(secret)
    _jsonl(folder, {"file_name": name.format(absolute=secret)})
    _refused(folder, "leads out of|not a path")


@pytest.mark.parametrize("name", ["a.png", "images/a.png"])
def test_links_out_of_scanned_folders_are_refused(tmp_path: Path, name: str) -> None:
    link = tmp_path / "mine" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(_picture(tmp_path / "secret.png"))
    assert _refused(tmp_path / "mine", "leads out of").privacy


def test_a_linked_captions_file_is_refused(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    secret.write_text("secret")
    (pairs / "captions" / "b.txt").symlink_to(secret)
    _refused(pairs, "leads out of")


def test_rows_that_point_nowhere_or_twice(table: Path) -> None:
    row = {"file_name": "train/a.png", "conditioning_image_file_name": "edges/b.png"}
    _jsonl(table, row)
    _refused(table, "edges/b.png, which is not there", "given")
    _jsonl(table, row, row)
    assert _refused(table, "named before, in line 1").privacy
    _jsonl(table, {"file_name": "train/c.png"})
    _refused(table, "train/c.png, which is not there")


def test_one_condition_serves_one_picture(table: Path) -> None:
    _picture(table / "train" / "b.png")
    rows = [{"file_name": f"train/{stem}.png", "conditioning_image_file_name": "edges/a.png"} for stem in ("a", "b")]
    _jsonl(table, *rows)
    assert _refused(table, "line 2: edges/a.png was named before, in line 1", "given").privacy
    assert len(read_folder(table, size=16, condition="canny")) == 2  # drawn from the picture: the column is not used


@pytest.mark.parametrize(
    ("text", "match"),
    [('{"file_name": \n', "line 1: not JSON"), ("[1]\n", "line 1: not an object"), ('{"file_name": 3}\n', "`file_name` is 3"),
     ('{"file_name": "train/a.png", "text": ["x"]}\n', "`text` is"), (b"\xff\xfe\x00", "could not be read")],
)  # fmt: skip
def test_malformed_jsonl(table: Path, text: str | bytes, match: str) -> None:
    (table / "metadata.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    _refused(table, match)


def test_unquoted_commas_and_two_tables(table: Path) -> None:
    (table / "metadata.csv").write_text("file_name,text\ntrain/a.png,red, square\n")
    _refused(table, "both metadata.jsonl and metadata.csv")
    (table / "metadata.jsonl").unlink()
    assert "double quotes" in _refused(table, "more cells than columns").fix


def test_ambiguous_stems(pairs: Path) -> None:
    _picture(pairs / "images" / "a.jpg")
    _refused(pairs, "both a.jpg and a.png")


def test_bad_captions_are_named(pairs: Path) -> None:
    (pairs / "captions" / "a.txt").write_bytes(b"\xff\xfe")
    folder = read_folder(pairs, size=16, condition="canny")
    with pytest.raises(UserError, match=r"a\.txt: the caption"):
        folder.load(next(iter(folder)))


def test_conditions_of_other_proportions_are_refused(pairs: Path) -> None:
    _picture(pairs / "conditions" / "a.jpg", WHITE, size=(40, 20))
    folder = read_folder(pairs, size=16, condition="given")
    with pytest.raises(UserError, match="40x20 pixels"):
        folder.load(next(iter(folder)))


def test_unknown_condition_and_bad_size(pairs: Path) -> None:
    with pytest.raises(ValueError, match="known: canny"):
        read_folder(pairs, size=16, condition="cany")
    with pytest.raises(UserError, match="picture size 0"):
        read_folder(pairs, size=0, condition="canny")


def test_people_are_read_from_metadata_alone(table: Path) -> None:
    _jsonl(table, {"file_name": "train/a.png", "person": " Ada "})
    assert read_folder(table, size=8, condition="canny").examples[0].person == "Ada"
    _jsonl(table, {"file_name": "train/a.png"})
    assert read_folder(table, size=8, condition="canny").examples[0].person == ""
    _jsonl(table, {"file_name": "train/a.png", "person": 7})
    with pytest.raises(UserError, match="`person` is 7"):
        read_folder(table, size=8, condition="canny")
