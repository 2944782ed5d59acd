"""Folders for the owner's loop, and what is kept of a loop: figures, no picture and no place of a machine."""

import json
import sys

import numpy as np
from PIL import Image

from sfumato.owner.folder import read_folder
from tests_support import load_recipe

folders, loops = load_recipe("loop_folders"), load_recipe("owner_loops")


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_symbols_are_drawn_on_white_and_flat_ones_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "EACH", 2)
    svgs = tmp_path / "package" / "color" / "svg"
    svgs.mkdir(parents=True)
    for name in "abcd":
        (svgs / f"{name}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle r="3" cx="4" cy="4"/></svg>')
    (svgs / "flat.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>')
    for out in ("one", "two"):
        folders.emoji(tmp_path / "package", tmp_path / out, 0)
    one = tree(tmp_path / "one")
    assert one == tree(tmp_path / "two") and sorted(name.partition("/")[0] for name in one) == ["emoji"] * 2 + ["emoji-public"] * 2
    picture = np.asarray(Image.open(next((tmp_path / "one" / "emoji").iterdir())))
    assert picture.shape == (folders.SIDE, folders.SIDE, 3) and (picture[0, 0] == 255).all() and "flat" not in "".join(one)


def test_parts_of_one_photograph_lie_in_one_folder(tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(draw.integers(0, 255, (320, 400, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    Image.open(tmp_path / "in" / "a.png").save(tmp_path / "in" / "again.png")
    folders.photos(tmp_path / "in", tmp_path / "out", 0)
    numbers = {name: {path.name[:3] for path in (tmp_path / "out" / name).iterdir()} for name in ("photos", "photos-public")}
    assert len(numbers["photos"]) == 2 and len(numbers["photos-public"]) == 1 and not numbers["photos"] & numbers["photos-public"]
    assert len(list((tmp_path / "out" / "photos").iterdir())) == 2 * folders.PARTS


def test_people_have_names_and_no_private_one_is_public(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "EACH", 8)
    folders.avatars(tmp_path, 0)
    people = [
        {example.person for example in read_folder(tmp_path / name, size=64, condition="canny")} for name in ("avatars", "avatars-public")
    ]
    assert len(people[0]) == 2 and not people[0] & people[1] and None not in people[0]


def test_what_is_kept_of_a_loop_names_no_place(tmp_path, monkeypatch):
    loop, page = tmp_path / "emoji", tmp_path / "emoji" / "attack-trial-800"
    page.mkdir(parents=True)
    gates = {"picture": "passed", "person": "not asked"}
    one = {"step": 800, "trial": True, "exit_code": 0, "gates": gates, "unasked": {}, "page": f"/home/somebody/{page.name}/attack.html"}
    (loop / "loop.json").write_text(json.dumps({"effort": "quick", "attacked": [one]}))
    audit = {
        "records": 9, "audited": 8, "matched": "ledger", "verdict": {"headline": "Passed."},
        "cells": {"a": {"outcome": "scored", "in all": 90}},
        "gates": [{"name": name, "found": "x"} for name in gates],
    }  # fmt: skip
    (page / "attack.json").write_text(json.dumps(audit))
    monkeypatch.setattr(sys, "argv", ["owner_loops.py", str(loop), "--out", str(tmp_path / "out.json")])
    loops.main()
    said = (tmp_path / "out.json").read_text()
    found = json.loads(said)["folders"]["emoji"]
    assert "somebody" not in said and not found["sealed"]
    assert found["attacked"][0]["gates"] == {name: {"result": held, "found": "x"} for name, held in gates.items()}
    assert found["attacked"][0]["minutes"] == 1.5 and found["attacked"][0]["audited"] == 8
