"""Keys are made once, belong to their owner, and are never replaced in silence."""

import os
import stat

import pytest

from sfumato.core.errors import UserError
from sfumato.owner import keys
from sfumato.records.manifest import public_hex


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_signing_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    folder = keys.owner_folder("clinic", tmp_path)
    first, second = (public_hex(keys.signing_key(folder)) for _ in range(2))
    assert first == second and mode(folder) == 0o700 and mode(folder / "signing.key") == 0o600
    assert public_hex(keys.signing_key(keys.owner_folder("studio", tmp_path))) != first


def test_all_owners_of_a_machine_share_one_ledger(tmp_path):
    folder = keys.ledger_folder(tmp_path)
    assert folder == keys.ledger_folder(tmp_path) and mode(folder) == 0o700
    key = keys.ledger_key(folder)
    assert key == keys.ledger_key(folder) and len(key) == 32 and mode(folder / "ledger.key") == 0o600


@pytest.mark.parametrize("name", ["", ".hidden", "../other", "a/b", "a b", "x" * 65, "né", "a\n"])
def test_a_name_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(UserError, match="owner name"):
        keys.owner_folder(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_ledger_without_its_key_is_not_started_anew(tmp_path):
    folder = keys.ledger_folder(tmp_path)
    (folder / "releases.jsonl").write_text("")
    with pytest.raises(UserError, match="gone") as error:
        keys.ledger_key(folder)
    assert "second time" in error.value.privacy and not (folder / "ledger.key").exists()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path, size):
    folder = keys.owner_folder("clinic", tmp_path)
    (folder / "signing.key").write_bytes(b"x" * size)
    with pytest.raises(UserError, match=f"{size} bytes"):
        keys.signing_key(folder)


@pytest.mark.parametrize("name", ["signing.key", "ledger.key"])
@pytest.mark.parametrize("how", ["folder", "pipe", "nowhere", "huge"])
def test_what_is_no_key_is_said_and_not_replaced(tmp_path, name, how):
    get, folder = {
        "signing.key": (keys.signing_key, keys.owner_folder("clinic", tmp_path)),
        "ledger.key": (keys.ledger_key, keys.ledger_folder(tmp_path)),
    }[name]
    path = folder / name
    if how == "huge":
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "nowhere": lambda: path.symlink_to(tmp_path / "gone")}[how]()
    with pytest.raises(UserError, match=name):
        get(folder)
    assert (tmp_path / "gone").exists() is False and path.is_symlink() == (how == "nowhere")


def test_a_home_that_cannot_be_one_is_said(tmp_path):
    (tmp_path / "home").write_text("")
    for make in (keys.ledger_folder, lambda store: keys.owner_folder("clinic", store)):
        with pytest.raises(UserError, match="could not be made") as error:
            make(tmp_path / "home")
        assert "SFUMATO_HOME" in error.value.fix
