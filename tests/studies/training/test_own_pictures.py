"""Somebody's own folders: who is trained on, who is kept aside, and what is said of what was left out."""

import json

import numpy as np
import pytest
from PIL import Image

from sfumato.core.errors import UserError
from sfumato.studies.training import own_pictures

HOW = {"size": 32, "condition": "canny", "pictures": 100, "aside": 100, "seed": 0}


def pixels(pictures):
    return {image.tobytes() for image in pictures.images}


def test_nothing_is_on_both_sides_and_captions_stay_with_their_pictures(make_folder):
    own = own_pictures.read((make_folder("a", count=15), make_folder("b", count=10, seed=1)), **HOW)
    assert {name: len(kept.images) for name, kept in own.owners.items()} == {"owner-1": 12, "owner-2": 8} and own.count == 20
    assert len(own.aside.images) == 5 and all(caption.startswith("caption-of-") for caption in own.aside.captions)
    sides = [pixels(own.owners["owner-1"]), pixels(own.owners["owner-2"]), pixels(own.aside)]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 25
    assert own_pictures.read((make_folder("c", count=15), make_folder("d", count=10, seed=1)), **HOW).digest == own.digest


def test_the_seed_draws_who_is_kept_aside_and_numbers_are_kept_to(make_folder):
    folder = make_folder(count=20)
    one, same, other = (own_pictures.read((folder,), **{**HOW, "seed": seed, "pictures": 7, "aside": 3}) for seed in (0, 0, 1))
    assert len(one.aside.images) == 3 and len(one.owners["owner-1"].images) == 7
    assert pixels(one.aside) == pixels(same.aside) != pixels(other.aside) and one.digest == other.digest


def test_a_picture_that_is_there_twice_is_on_one_side(make_folder):
    folder = make_folder(count=10)
    (folder / "metadata.jsonl").unlink()
    (folder / "again.png").write_bytes((folder / "secret-0.png").read_bytes())
    own = own_pictures.read((folder,), **HOW)
    assert own.count + len(own.aside.images) == 10 and own.aside.captions == [""] * 2


def test_people_are_not_parted(make_folder):
    folder = make_folder(count=20)
    rows = [json.dumps({"file_name": f"secret-{i}.png", "person": f"p{i // 4}"}) for i in range(20)]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    own = own_pictures.read((folder,), **HOW)
    whose = set(own.owners["owner-1"].identities)
    assert len(own.aside.images) == 4 and len(whose) == 4 and own.count == 16  # one of five people is kept aside, with all pictures
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": f"secret-{i}.png", "person": "p"}) for i in range(20)))
    with pytest.raises(UserError, match="one person on all"):
        own_pictures.read((folder,), **HOW)


def test_what_is_not_used_is_said(make_folder):
    folder = make_folder(count=11)
    (folder / "secret-3.png").write_bytes(b"no picture")
    conditions = [json.dumps({"file_name": f"secret-{i}.png", "conditioning_image_file_name": "edges.png"} if i == 0 else
                             {"file_name": f"secret-{i}.png"}) for i in range(11)]  # fmt: skip
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "edges.png")
    (folder / "metadata.jsonl").write_text("\n".join(conditions))
    own = own_pictures.read((folder,), **HOW)
    assert any("secret-3.png" in note for note in own.notes) and any("its 1 conditions are not used" in note for note in own.notes)


def test_conditions_that_come_with_pictures_stay_with_them(make_folder):
    folder = make_folder(count=11)
    with pytest.raises(UserError, match="metadata.jsonl"):  # there are none
        own_pictures.read((folder,), **{**HOW, "condition": "given"})
    rows = []
    for i in range(11):
        image = np.asarray(Image.open(folder / f"secret-{i}.png"))
        Image.fromarray(255 - image).save(folder / f"c-{i}.png")
        rows.append(json.dumps({"file_name": f"secret-{i}.png", "conditioning_image_file_name": f"c-{i}.png"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    own = own_pictures.read((folder,), **{**HOW, "condition": "given"})
    for some in (own.owners["owner-1"], own.aside):
        assert np.array_equal(some.conditions, 255 - some.images) and len(some.images)
    assert own_pictures.read((folder,), **HOW).aside.conditions is None
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "c-3.png")  # another condition is another comparison
    assert own_pictures.read((folder,), **{**HOW, "condition": "given"}).digest != own.digest


def test_too_few_are_refused_and_so_is_a_place_among_the_pictures(make_folder, tmp_path):
    folder = make_folder(count=9)
    with pytest.raises(UserError, match="9 different pictures"):
        own_pictures.read((folder,), **HOW)
    for out in (folder, folder / "out", tmp_path):
        with pytest.raises(UserError, match="or around it"):
            own_pictures.check_place(out, (folder,))
    own_pictures.check_place(tmp_path / "out", (folder,))
