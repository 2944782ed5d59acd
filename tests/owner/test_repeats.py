"""Kohya's folders: pictures that count several times, words that name a subject, and classes that name nobody."""

import pytest
from PIL import Image

from sfumato.core.errors import UserError
from sfumato.owner.folder import read_folder
from sfumato.owner.repeats import Repeated, folders


def write(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, len(name))).save(root / name / f"{i}.png")
    return root


def test_names_say_how_often_and_of_what():
    assert folders(["10_zwx dog", "img", "2_a_b", "x_1", "3_", "reg"]) == (
        [Repeated("10_zwx dog", 10, "zwx dog"), Repeated("2_a_b", 2, "a_b")],
        [],
    )


def test_a_class_alone_is_no_subject():
    subjects, of_class = folders(["10_zwx dog", "1_dog", "4_cat"])
    assert [one.words for one in subjects] == ["zwx dog", "cat"] and [one.words for one in of_class] == ["dog"]


def test_their_pictures_are_read_with_words_repeats_and_captions(tmp_path):
    write(tmp_path, **{"10_zwx dog": 2, "3_other cat": 1, "1_dog": 4, "log": 1})
    (tmp_path / "10_zwx dog" / "0.txt").write_text("on grass")
    found = read_folder(tmp_path, size=8, condition="canny")
    told = {(example.path.parent.name, example.words, example.repeats, example.caption) for example in found}
    assert told == {("10_zwx dog", "zwx dog", 10, "on grass"), ("10_zwx dog", "zwx dog", 10, ""), ("3_other cat", "other cat", 3, "")}
    said = "\n".join(found.notes)
    assert len(found) == 3 and "1_dog" in said and "log" in said and "10_zwx dog: 2" in said


def test_pictures_of_the_folder_itself_go_first_and_what_stops_a_folder_stops_these(tmp_path):
    write(tmp_path / "b", **{"10_zwx dog": 1})
    (tmp_path / "b" / "10_zwx dog" / "captions.csv").write_text("file,text")
    with pytest.raises(UserError, match="not read"):
        read_folder(tmp_path / "b", size=8, condition="canny")
    Image.new("RGB", (8, 8)).save(tmp_path / "b" / "top.png")
    found = read_folder(tmp_path / "b", size=8, condition="canny")
    assert [example.path.name for example in found] == ["top.png"] and any("10_zwx dog" in note for note in found.notes)


def test_folders_without_a_picture_are_no_pictures(tmp_path):
    write(tmp_path, **{"10_zwx dog": 0})
    with pytest.raises(UserError, match="no pictures"):
        read_folder(tmp_path, size=8, condition="canny")
