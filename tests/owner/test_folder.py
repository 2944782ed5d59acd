from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from sfumato.conditions import canny
from sfumato.core.errors import UserError
from sfumato.owner import listing
from sfumato.owner.folder import Example, read_folder

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
    [('{"file_name": \n', "line 1: not a readable JSON"), ("[1]\n", "line 1: not an object"), ('{"file_name": 3}\n', "`file_name` is 3"),
     ('{"file_name": "train/a.png", "text": ["x"]}\n', "`text` is"), (b"\xff\xfe\x00", "line 1: .*UTF-8")],
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


# ---------------------------------------------------------------- what is not read is said, and nothing outside is


@pytest.mark.parametrize("name", ["metadata.json", "metadata.jsonl"])
def test_a_json_table_is_read_as_lines_or_as_a_list(tmp_path: Path, name: str) -> None:
    for stem in "abc":
        _picture(tmp_path / f"{stem}.png")
    rows = [{"file_name": "a.png", "caption": "red"}, {"file_name": "b.png", "text": "white", "caption": "no"}]
    texts = ["\r\n".join(map(json.dumps, rows))] + ([json.dumps(rows, indent=2)] if name.endswith("json") else [])
    for text in texts:
        (tmp_path / name).write_text(text)
        folder = read_folder(tmp_path, size=8, condition="canny")
        assert [(e.path.name, e.caption) for e in folder] == [("a.png", "red"), ("b.png", "white")]
        assert any("c.png" in line for line in folder.notes)  # it is in no row


UNREAD = ["metadata.json1", "metadata1000.jsonl", "Metadata.jsonl", "METADATA.CSV", "metadata.parquet", "metadata.tsv", "metadata",
          "captions.csv", "labels.json", "people.xlsx", "metadata.csv.gz", "data.ndjson", "metadata.txt"]  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("where", ["", "images"])
def test_a_table_that_is_not_read_stops_before_anything_is_sealed(tmp_path: Path, name: str, where: str) -> None:
    _picture(tmp_path / where / "a.png")
    (tmp_path / where / name).write_text("a.png")
    assert _refused(tmp_path, "a table that is not read").privacy
    assert name in _refused(tmp_path, "a table").got


def test_beside_a_table_that_is_read_others_are_named(table: Path) -> None:
    (table / "captions.csv").write_text("x")
    assert any("captions.csv" in line for line in read_folder(table, size=8, condition="canny").notes)
    (table / "Metadata.tsv").write_text("x")
    _refused(table, "Metadata.tsv: a table that is not read")


def test_notes_of_single_pictures_are_no_tables(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "Thumbs.db").write_text("x")
    folder = read_folder(tmp_path, size=8, condition="canny")
    assert len(folder) == 1 and sum("a.json" in line or "Thumbs.db" in line for line in folder.notes) == 2


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.json", "Metadata.jsonl"])
def test_a_table_that_leads_out_is_neither_opened_nor_quoted(tmp_path: Path, name: str) -> None:
    _picture(tmp_path / "mine" / "a.png")
    (tmp_path / "people.csv").write_text("name,address\nA. Sitter,12 Example Street\n")
    (tmp_path / "mine" / name).symlink_to("../people.csv")
    error = _refused(tmp_path / "mine", "leads out of|not read")
    assert "address" not in str(error) and "Sitter" not in str(error)
    (tmp_path / "people.csv").unlink()
    _refused(tmp_path / "mine", "leads out of|not read")  # nor is a link that leads nowhere the same as no table


@pytest.mark.parametrize("name", ["images", "conditions", "captions"])
def test_a_folder_that_leads_out_is_not_listed(pairs: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    _picture(elsewhere / "secret.png")
    (pairs / name).rename(pairs / "old")
    (pairs / name).symlink_to(elsewhere)
    assert "secret" not in str(_refused(pairs, "leads out of"))


def test_pipes_and_devices_are_refused_before_they_are_read(pairs: Path) -> None:
    os.mkfifo(pairs / "metadata.jsonl")
    _refused(pairs, "metadata.jsonl: not a file")
    (pairs / "metadata.jsonl").unlink()
    os.mkfifo(pairs / "images" / "c.png")
    os.mkfifo(pairs / "captions" / "b.txt")
    folder = read_folder(pairs, size=8, condition="canny")
    assert len(folder) == 2 and any("c.png" in line and "not files" in line for line in folder.notes)
    assert [example.caption for example in folder] == ["a red square", ""]
    _jsonl(pairs, {"file_name": "images/c.png"})
    _refused(pairs, "line 1: `file_name` names images/c.png, which is no file")
    example = Example(pairs / "images" / "c.png", None, 8)
    for look in (example.image, lambda: example.cropped):
        with pytest.raises(UserError, match="not a file"):
            look()


@pytest.mark.parametrize(
    ("text", "match"),
    [("[" * 100_000 + "]" * 100_000, "line 1: .*nested"), ('{"a":' * 5000 + "1" + "}" * 5000, "line 1: .*nested"),
     ('{"file_name": "train/a.png", "n": ' + "1" * 5000 + "}", "line 1: .*5000 digits"),
     ('{"file_name": "train/a.png", "n": NaN}', "line 1: .*NaN"), ('{"file_name": "x", "file_name": "train/a.png"}', "line 1: .*twice"),
     ('{"file_name": "train/a.png"}\n{"file_name": "' + "x" * 304 + '.png"}', "line 2: `file_name` names x{60}[.]{3}, which is not there"),
     ('{"file_name": "' + "a/" * 5000 + '"}', "line 1: a?"), ('{"file_name": "\\ud800.png"}', "line 1"),
     ('{"file_name": "\\u0000"}', "line 1: .*not a path"), ('{"file_name": "\\u001b[2J.png"}', "line 1: .*x1b.2J.png, which is not there")],
)  # fmt: skip
def test_rows_that_are_too_much_are_named_by_their_line(table: Path, text: str, match: str) -> None:
    (table / "metadata.jsonl").write_text(text)
    error = _refused(table, match)
    assert len(str(error)) < 2000 and "\x1b" not in str(error)


@pytest.mark.parametrize(
    ("text", "match"),
    [("file_name,text,text\na,b,c", "line 1: the column 'text' twice"), ('file_name,text\ntrain/a.png,"open', "line 2: not a row"),
     ("file_name,text\ntrain/a.png," + "x" * 200_000, "line 2: not a row"), (b"file_name\ntrain/\xff.png", "line 2: no UTF-8")],
)  # fmt: skip
def test_csv_that_is_none_is_named_by_its_line(table: Path, text: str | bytes, match: str) -> None:
    (table / "metadata.jsonl").unlink()
    (table / "metadata.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    _refused(table, match)


def test_captions_beside_pictures_are_read_in_every_layout(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (pairs / "images" / "b.caption").write_text("beside")
    (pairs / "images" / "a.txt").write_text("not this one: captions/ has it")
    assert [example.caption for example in read_folder(pairs, size=8, condition="canny")] == ["a red square", "beside"]
    plain = tmp_path_factory.mktemp("plain")
    for stem in ("a", "b", "c.d"):
        _picture(plain / f"{stem}.png")
    (plain / "a.txt").write_text("\ufeffkohya's \n", encoding="utf-8")
    (plain / "a.caption").write_text("other")
    (plain / "c.d.caption").write_text("dots")
    (plain / "notes.txt").write_text("of nobody")
    folder = read_folder(plain, size=8, condition="canny")
    assert [example.caption for example in folder] == ["kohya's", "", "dots"] and folder.captioned == 2
    assert any("notes.txt" in line and "a.caption" in line for line in folder.notes)
    _jsonl(plain, {"file_name": "a.png"}, {"file_name": "b.png", "text": "its own"})
    assert [example.caption for example in read_folder(plain, size=8, condition="canny")] == ["kohya's", "its own"]


def test_captions_have_an_end(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(2**33)
    (example,) = read_folder(tmp_path, size=8, condition="canny")
    with pytest.raises(UserError, match="a.txt: 8589934592 bytes"):
        _ = example.caption


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".pjpeg", ".tif", ".dib", ".pnm", ".apng", ".avif", ".gif"])
def test_other_suffixes_are_read(tmp_path: Path, suffix: str) -> None:
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".pjpeg": "JPEG", ".dib": "BMP", ".pnm": "PPM", ".apng": "PNG"}.get(suffix.lower())
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (16, 16), RED).save(tmp_path / f"a{suffix}", format=kind)
    (example,) = read_folder(tmp_path, size=8, condition="canny")
    assert np.abs(example.image().astype(int) - RED).max() < 12 and not example.cropped


def test_all_that_is_left_out_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "A.png", "sub/b.png", "__MACOSX/a.png", ".hidden.png", "._a.png"):
        _picture(tmp_path / name)
    for name in ("c.psd", "d.jxl", "\x1b[2J.doc", *(f"{i}.md" for i in range(20))):
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    folder = read_folder(tmp_path, size=8, condition="canny")
    said = "\n".join(folder.notes)
    assert len(folder) == 2 and "\x1b" not in said and "13 more" in said
    for word in ("sub", "__MACOSX", ".hidden.png", "._a.png", "gone.png", "differ in case alone: A.png, a.png"):
        assert word in said


def test_conditions_that_are_not_used_are_counted(pairs: Path, table: Path) -> None:
    _picture(pairs / "conditions" / "of-nobody.png")
    (pairs / "metadata.jsonl").unlink()  # two fixtures, one folder
    canny, given = (read_folder(pairs, size=8, condition=name) for name in ("canny", "given"))
    assert canny.supplied == given.supplied == 2
    assert any("2 conditions" in line for line in canny.notes) and not any("2 conditions" in line for line in given.notes)
    assert all(any("of-nobody.png" in line for line in one.notes) for one in (canny, given))


def test_conditions_of_a_table_are_no_forgotten_pictures(table: Path) -> None:
    _picture(table / "edges" / "more.png")
    for condition in ("canny", "given"):
        folder = read_folder(table, size=8, condition=condition)
        assert folder.supplied == 1 and not any("edges/a.png" in line for line in folder.notes)


def test_what_is_cropped_is_known(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png", size=(20, 30))
    _picture(tmp_path / "b.png")
    assert [example.cropped for example in read_folder(tmp_path, size=8, condition="canny")] == [True, False]


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listing.os, "scandir", refuse)
    _refused(tmp_path, "could not be listed")


def test_the_columns_of_a_table_are_known(table: Path) -> None:
    _jsonl(table, {"file_name": "train/a.png", "label": "x", "\x1b[2J": 1})
    assert read_folder(table, size=8, condition="canny").columns == ("file_name", "label", "\\x1b[2J")
