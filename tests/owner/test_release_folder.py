"""The folder of a release and the ledger agree, whatever lies in the folder."""

import pytest

from sfumato.core.errors import PrivacyError, UserError
from sfumato.owner.release_folder import CROPPED, aside_of, crop_of, open_release, recover, write_aside
from sfumato.owner.release_ledger import Entry, ReleaseLedger

WANTED = {"settings": {"seal_step": 600}, "base": "f" * 64, "key": "k", "secure": True}


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "home").mkdir()
    return ReleaseLedger(tmp_path / "home", b"k" * 32)


def opened(tmp_path, ledger, wanted=WANTED):
    return open_release(tmp_path / "out", tmp_path / "home", ledger, wanted)


def shard(letter):
    return Entry("r", letter * 64, 1, 4, [f"picture {letter}"], [f"file {letter}"], None)


def name(letter):
    return f"{letter * 64}.safetensors"


def test_a_release_keeps_its_id_and_its_settings(tmp_path, ledger):
    release = opened(tmp_path, ledger)
    ledger.append(Entry(release, "a" * 64, 1, 4, ["p"], ["f"], None))
    assert opened(tmp_path, ledger) == release and aside_of(tmp_path / "out").is_dir()
    for changes in ({"settings": {"seal_step": 400}}, {"base": "0" * 64}, {"key": "other"}, {"secure": False}):
        with pytest.raises(UserError, match="other settings") as error:
            opened(tmp_path, ledger, WANTED | changes)
        assert error.value.privacy


def test_how_pictures_were_made_square_is_kept_and_not_mixed(tmp_path, ledger):
    release = opened(tmp_path, ledger)
    ledger.append(Entry(release, "a" * 64, 1, 4, ["p"], ["f"], None))
    assert crop_of(release, tmp_path / "home") is None  # an earlier version kept nothing, and may be gone on with
    assert opened(tmp_path, ledger, {**WANTED, CROPPED: "pad"}) == release
    other = open_release(tmp_path / "other", tmp_path / "home", ledger, {**WANTED, CROPPED: "pad"})
    ledger.append(Entry(other, "b" * 64, 1, 4, ["q"], ["g"], None))
    assert crop_of(other, tmp_path / "home") == "pad" and crop_of("unknown", tmp_path / "home") is None
    with pytest.raises(UserError, match="--crop"):
        open_release(tmp_path / "other", tmp_path / "home", ledger, {**WANTED, CROPPED: "center"})


def test_shards_wait_where_nothing_is_uploaded_from(tmp_path):
    aside = aside_of(tmp_path / "records")
    assert aside.parent == tmp_path and tmp_path / "records" not in aside.parents and aside.name == ".records.sealing"


@pytest.mark.parametrize("place", ["out", ".out.sealing"])
def test_somebody_elses_folder_is_not_taken(tmp_path, ledger, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "photo.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="not empty"):
        opened(tmp_path, ledger)
    assert (tmp_path / place / "photo.png").read_bytes() == b"mine"


def test_counted_shards_are_named_and_uncounted_ones_dropped(tmp_path, ledger):
    opened(tmp_path, ledger)
    out, aside = tmp_path / "out", aside_of(tmp_path / "out")
    (out / name("a")).write_bytes(b"done")
    (aside / name("b")).write_bytes(b"done")
    (aside / name("c")).write_bytes(b"half")
    found = recover(out, aside, [shard("a"), shard("b")])
    assert [entry.sha256[0] for entry in found] == ["a", "b"] and not list(aside.iterdir())
    assert sorted(path.name[0] for path in out.iterdir()) == ["a", "b"]


def test_a_counted_shard_that_is_gone_is_not_drawn_again(tmp_path, ledger):
    opened(tmp_path, ledger)
    with pytest.raises(PrivacyError, match="is gone") as error:
        recover(tmp_path / "out", aside_of(tmp_path / "out"), [shard("a")])
    assert "second release" in error.value.privacy


def test_a_shard_of_another_ledger_stops_everything(tmp_path, ledger):
    opened(tmp_path, ledger)
    (tmp_path / "out" / name("d")).write_bytes(b"theirs")
    with pytest.raises(PrivacyError, match="not in this ledger"):
        recover(tmp_path / "out", aside_of(tmp_path / "out"), [])
    assert (tmp_path / "out" / name("d")).exists()


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="could not be written") as error:
        write_aside(tmp_path / "missing" / "shard", b"data")
    assert "nothing of this shard" in error.value.privacy and not (tmp_path / "missing").exists()


@pytest.mark.parametrize("damage", ["{", "3", "[]", "null", '{"release": 3}', '{"base": "x"}', '{"release": "a", "release": "b"}'])
def test_a_damaged_state_is_said_and_nothing_is_begun(tmp_path, ledger, damage):
    release = opened(tmp_path, ledger)
    ledger.append(Entry(release, "a" * 64, 1, 4, ["p"], ["f"], None))
    (state,) = (tmp_path / "home" / "folders").iterdir()
    state.write_text(damage)
    with pytest.raises(UserError, match="state of a release") as error:
        opened(tmp_path, ledger)
    assert str(state) in error.value.got and state.read_text() == damage
