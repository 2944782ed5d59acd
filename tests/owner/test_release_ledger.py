"""The ledger: what was released, once for each release, and never less after a kill."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import lists, sampled_from, tuples

from sfumato.core.errors import UserError
from sfumato.owner import journal
from sfumato.owner.release_ledger import Entry, ReleaseLedger, locked

KEY = b"k" * 32


def entry(release="r1", pictures=("p1",), files=("f1",), mu=1.0, conditions=()):
    sha = "".join((release, *pictures, *files)).encode().hex().ljust(64, "0")
    return Entry(release, sha, len(pictures), 10, list(pictures), list(files), mu, list(conditions))


def test_entries_come_back_in_order(tmp_path):
    ledger = ReleaseLedger(tmp_path, KEY)
    written = [entry(), entry("r2", ["p2"], ["f2"], None), entry("r1", ["p3"], ["f3"])]
    for one in written:
        ledger.append(one)
    again = ReleaseLedger(tmp_path, KEY)
    assert again.entries == written and again.of_release("r1") == [written[0], written[2]]


def ledger_of(folder, *entries):
    ledger = ReleaseLedger(folder, KEY)
    for one in entries:
        ledger.append(one)
    return ledger


def test_names_of_a_release_and_of_the_others(tmp_path):
    ledger = ledger_of(tmp_path, entry("r1", conditions=["c1"]), entry("r2", ["p2"], ["f2"]))
    assert ledger.names("r1") == {"p1", "f1"} == ledger.names("r2", others=True)
    assert ledger.names("r3") == set() and ledger.names("r3", others=True) == {"p1", "f1", "p2", "f2"}


def test_the_others_are_known_by_pixels_by_file_and_through_a_third(tmp_path):
    ledger = ledger_of(
        tmp_path, entry("r1"), entry("r2", ["p1"], ["f9"], None), entry("r3", ["p7"], ["f1"], 4.0), entry("r4", ["p7", "p5"], ["f7", "f5"])
    )
    assert ledger.draws("r4") == [[1.0, None, 4.0, 1.0], [1.0]]  # p7 of r3, whose file is that of r1, whose pixels are those of r2
    assert ledger.draws("r3") == [[1.0, None, 4.0, 1.0]] and ledger.draws("r9") == []


def test_a_supplied_condition_links_every_picture_that_it_goes_with(tmp_path):
    ledger = ledger_of(
        tmp_path, entry("r1", ["p1", "p2", "p3"], ["f1", "f2", "f3"], 2.0, ["c", "c", "d"]), entry("r2", ["p4"], ["f4"], 3.0, ["d"])
    )
    assert ledger.draws("r1") == [[2.0, 2.0], [2.0, 3.0]] and ledger.draws("r2") == [[2.0, 3.0]]


def test_one_condition_of_very_many_pictures_takes_no_more_than_its_records(tmp_path):
    n = 20_000
    ledger = ReleaseLedger(tmp_path, KEY)
    ledger.entries.append(entry("r1", [f"p{i}" for i in range(n)], [f"f{i}" for i in range(n)], 2.0, ["blank"] * n))
    assert list(map(len, ledger.draws("r1"))) == [n]


def test_lines_of_an_older_version_are_read(tmp_path):
    line = {"release": "r", "sha256": "0" * 64, "records": 1, "bytes": 4, "pictures": ["p"], "files": ["f"], "mu": 1.5}
    (tmp_path / "releases.jsonl").write_text(json.dumps(line) + "\n")
    assert ReleaseLedger(tmp_path, KEY).draws("r") == [[1.5]]


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path, monkeypatch):
    """Cut where a kill may cut it: what had not reached the disk is not counted, and all that had is."""
    ledger = ReleaseLedger(tmp_path, KEY)
    ledger.append(entry())
    path, before = tmp_path / "releases.jsonl", (tmp_path / "releases.jsonl").read_bytes()
    monkeypatch.setattr(journal, "sync_file", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ledger.append(entry("r2"))
    monkeypatch.undo()
    whole = path.read_bytes()
    for end in (len(before) + 1, len(before) + 20, len(whole) - 2):
        path.write_bytes(whole[:end])
        assert ReleaseLedger(tmp_path, KEY).entries == [entry()] and path.read_bytes() == before
    for end in (len(whole) - 1, len(whole)):  # the end of the line alone is gone
        path.write_bytes(whole[:end])
        assert ReleaseLedger(tmp_path, KEY).entries == [entry(), entry("r2")] and path.read_bytes() == whole
    again = ReleaseLedger(tmp_path, KEY)
    again.append(entry("r3"))
    assert [json.loads(line)["release"] for line in path.read_text().splitlines()] == ["r1", "r2", "r3"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["releases.jsonl"]


GOOD = json.dumps(asdict(entry()))
DAMAGE = [
    "{", "[]", '{"release": "r2"}', '{"unknown": 1}', "", "null", "3", '"text"', GOOD[:-1], GOOD + GOOD, "[" * 100_000, "\x00",
    GOOD.replace('["p1"]', '[["p1"]]'), GOOD.replace('["p1"]', "[1]"), GOOD.replace('["p1"]', "[]"), GOOD.replace('["p1"]', '"p"'),
    GOOD.replace('["f1"]', '["f1", "f2"]'), GOOD.replace('["f1"]', "[NaN]"), GOOD.replace('["f1"]', "null"), GOOD.replace('["f1"]', '[""]'),
    GOOD.replace('"conditions": []', '"conditions": ["c", "d"]'), GOOD.replace('"mu": 1.0', '"mu": NaN'),
    GOOD.replace('"mu": 1.0', '"mu": -1'), GOOD.replace('"mu": 1.0', '"mu": "1"'), GOOD.replace('"mu": 1.0', '"mu": true'),
    GOOD.replace('"mu": 1.0', '"mu": 1e999'), GOOD.replace('"bytes": 10', '"bytes": ' + "1" * 5000),
    GOOD.replace('"bytes": 10', '"bytes": -1'),
    GOOD.replace('"records": 1', '"records": true'), GOOD.replace('"records": 1', '"records": 2'), GOOD.replace('"r1"', "7"),
    GOOD.replace('"r1"', '""'), GOOD.replace("}", ', "release": "r9"}'), GOOD.replace("}", ', "more": 1}'),
]  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGE, GOOD.encode()[:-9] + b"\xff" + GOOD.encode()[-9:]])
def test_a_damaged_line_is_neither_skipped_nor_read(tmp_path, damage):
    ReleaseLedger(tmp_path, KEY).append(entry("r0"))
    path = tmp_path / "releases.jsonl"
    damaged = path.read_bytes() + (damage if isinstance(damage, bytes) else damage.encode()) + b"\n" + path.read_bytes()
    last = [damaged.rpartition(path.read_bytes())[0][:-1]] if damage else []  # without its end an empty line is none
    for text in (damaged, damaged.replace(b"\n", b"\r\n"), *last):
        path.write_bytes(text)
        with pytest.raises(UserError, match=r"releases\.jsonl: line 2 is damaged") as error:
            ReleaseLedger(tmp_path, KEY)
        assert "twice" in error.value.privacy and len(str(error.value)) < 1000 and path.read_bytes() == text


@pytest.mark.parametrize("how", ["folder", "pipe", "nowhere"])
def test_what_is_no_ledger_is_not_an_empty_one(tmp_path, how):
    path = tmp_path / "releases.jsonl"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "nowhere": lambda: path.symlink_to(tmp_path / "gone")}[how]()
    with pytest.raises(UserError, match="releases.jsonl"):
        ReleaseLedger(tmp_path, KEY)


def test_a_ledger_that_cannot_be_written_stops_the_release(tmp_path):
    ledger = ReleaseLedger(tmp_path, KEY)
    (tmp_path / "releases.jsonl").mkdir()
    with pytest.raises(UserError, match="could not be written") as error:
        ledger.append(entry())
    assert "not released" in error.value.privacy and ledger.entries == []


def test_names_depend_on_pixels_shape_and_key(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    ledger, other = ReleaseLedger(tmp_path, KEY), ReleaseLedger(tmp_path, b"x" * 32)
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    names = {ledger.name(image), ledger.name(changed), ledger.name(image.reshape(2, 8, 3)), other.name(image)}
    assert len(names) == 4 and ledger.name(image.copy()) in names and all(len(name) == 64 for name in names)


def test_a_file_is_known_by_its_bytes_wherever_it_lies(tmp_path):
    ledger = ReleaseLedger(tmp_path, KEY)
    for name, data in (("a.png", b"1" * 3_000_000), ("b.jpg", b"1" * 3_000_000), ("c.png", b"1" * 2_999_999 + b"2")):
        (tmp_path / name).write_bytes(data)
    a, b, c = (ledger.file_name(tmp_path / name) for name in ("a.png", "b.jpg", "c.png"))
    assert a == b != c


def test_two_seals_at_once_are_turned_away(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="another seal"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@given(
    entries=lists(
        tuples(
            sampled_from("abc"), lists(tuples(sampled_from("pqrst"), sampled_from("uvwxy"), sampled_from("klmno")), min_size=1, max_size=3)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_groups_are_the_connected_records_whatever_links_them(entries):
    """Against a plain search over all pairs of records."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = ReleaseLedger(Path(folder), KEY)
        records = []
        for number, (release, rows) in enumerate(entries):
            pictures, files, conditions = (list(column) for column in zip(*rows, strict=True))
            one = entry(release, [f"p{x}" for x in pictures], [f"f{x}" for x in files], float(number + 1), [f"c{x}" for x in conditions])
            ledger.entries.append(one)
            records += [(release, one.mu, {f"p{p}", f"f{f}", f"c{c}"}) for p, f, c in rows]
        for release in "abc":
            groups, left = [], list(range(len(records)))
            while left:
                group = {left.pop(0)}
                while grown := {i for i in left if any(records[i][2] & records[j][2] for j in group)}:
                    group |= grown
                    left = [i for i in left if i not in grown]
                groups.append(group)
            wanted = [sorted(records[i][1] for i in group) for group in groups if any(records[i][0] == release for i in group)]
            assert sorted(sorted(mus) for mus in ledger.draws(release)) == sorted(wanted)
