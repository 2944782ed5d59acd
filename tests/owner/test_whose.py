"""The ledger tells which record is which picture, and to nobody but whoever has its key."""

import json

import numpy as np
import pytest
from PIL import Image

from sfumato.core.errors import UserError
from sfumato.owner import keys, whose
from sfumato.owner.release_ledger import Entry, ReleaseLedger


@pytest.fixture
def pictures(tmp_path):
    """Three pictures, their files, and a ledger that has them in the order 2, 0, 1 over two shards."""
    draw = np.random.default_rng(0)
    images = list(draw.integers(0, 255, (3, 8, 8, 3), dtype=np.uint8))
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    folder = keys.ledger_folder(tmp_path / "home")
    ledger = ReleaseLedger(folder, keys.ledger_key(folder))
    for digest, rows in (("a", [2, 0]), ("b", [1])):
        names, files = [ledger.name(images[row]) for row in rows], [ledger.file_name(paths[row]) for row in rows]
        ledger.append(Entry("r", digest, len(rows), 10, names, files, None))
    return images, paths, tmp_path / "home"


def test_records_find_their_pictures_in_the_order_of_the_shards(pictures):
    images, paths, store = pictures
    for shards, order in ((["a", "b"], [2, 0, 1]), (["b", "a"], [1, 2, 0]), (["a"], [2, 0])):
        known = whose.named("r", shards, store=store)
        assert known.whose([known.name(image) for image in images], paths).tolist() == order


def test_a_file_is_known_where_its_pixels_are_decoded_otherwise(pictures):
    images, paths, store = pictures
    known = whose.named("r", ["a", "b"], store=store)
    names = [known.name(images[0] ^ 1), known.name(images[1]), known.name(images[2])]
    assert known.whose(names, paths).tolist() == [2, 0, 1]
    paths[0].write_bytes(b"another file")
    assert known.whose(names, paths).tolist() == [2, -1, 1]


def test_how_pictures_were_made_square_is_known_here_and_not_contradicted(pictures):
    *_, store = pictures
    assert whose.crop_of("r", store=store) == "center" and whose.crop_of("r", "pad", store=store) == "pad"  # nobody knows
    for release, kept in (("r", "pad"), ("odd", "fit")):
        (store / "ledger/folders").mkdir(exist_ok=True)
        (store / f"ledger/folders/{release}.json").write_text(json.dumps({"release": release, "crop": kept}))
    assert whose.crop_of("r", store=store) == whose.crop_of("r", "pad", store=store) == "pad"
    with pytest.raises(UserError, match="--crop none") as stop:
        whose.crop_of("r", "none", store=store)
    assert "--crop pad" in stop.value.fix
    assert whose.crop_of("odd", "none", store=store) == "none"  # a word that says nothing


def test_a_picture_that_lies_there_twice_is_the_first(pictures):
    images, paths, store = pictures
    known = whose.named("r", ["b"], store=store)
    assert known.whose([known.name(images[1])] * 2, paths[:2]).tolist() == [0]


def test_what_the_ledger_does_not_hold_is_not_known(pictures, tmp_path):
    _, _, store = pictures
    assert whose.named("other", ["a"], store=store) is None and whose.named("r", ["a", "c"], store=store) is None
    assert whose.named("r", [], store=store) is None and whose.named("r", ["a"], store=tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()  # a look makes no key
    (store / "ledger/ledger.key").unlink()
    assert whose.named("r", ["a"], store=store) is None and not (store / "ledger/ledger.key").exists()


def test_a_look_leaves_a_line_that_is_being_written_alone(pictures):
    _, _, store = pictures
    path = store / "ledger/releases.jsonl"
    whole = path.read_bytes()
    for torn in (b'{"release": "r", "sha', whole.splitlines()[0]):
        path.write_bytes(whole + torn)
        assert whose.named("r", ["a", "b"], store=store) is not None and path.read_bytes() == whole + torn


def test_a_damaged_ledger_is_said(pictures):
    _, _, store = pictures
    path = store / "ledger/releases.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(UserError, match="line 1 is damaged"):
        whose.named("r", ["a"], store=store)


def test_without_the_key_the_map_names_nothing(pictures, tmp_path):
    images, _, store = pictures
    said = json.dumps([json.loads(line) for line in (store / "ledger/releases.jsonl").read_text().splitlines()])
    stranger = ReleaseLedger(tmp_path / "elsewhere", b"x" * 32)
    assert not any(stranger.name(image) in said for image in images) and ".png" not in said
