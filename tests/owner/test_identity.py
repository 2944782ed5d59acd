"""Keys are made once, belong to their owner, and are never replaced in silence."""

import stat

import pytest

from sfumato.core.errors import UserError
from sfumato.owner import identity
from sfumato.records.manifest import public_hex


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_signing_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    folder = identity.owner_folder("clinic", tmp_path)
    first, second = (public_hex(identity.signing_key(folder)) for _ in range(2))
    assert first == second and mode(folder) == 0o700 and mode(folder / "signing.key") == 0o600
    assert public_hex(identity.signing_key(identity.owner_folder("studio", tmp_path))) != first


def test_all_owners_of_a_machine_share_one_ledger(tmp_path):
    folder = identity.ledger_folder(tmp_path)
    assert folder == identity.ledger_folder(tmp_path) and mode(folder) == 0o700
    key = identity.ledger_key(folder)
    assert key == identity.ledger_key(folder) and len(key) == 32 and mode(folder / "ledger.key") == 0o600


@pytest.mark.parametrize("name", ["", ".hidden", "../other", "a/b", "a b", "x" * 65, "né", "a\n"])
def test_a_name_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(UserError, match="owner name"):
        identity.owner_folder(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_ledger_without_its_key_is_not_started_anew(tmp_path):
    folder = identity.ledger_folder(tmp_path)
    (folder / "releases.jsonl").write_text("")
    with pytest.raises(UserError, match="gone") as error:
        identity.ledger_key(folder)
    assert "second time" in error.value.privacy and not (folder / "ledger.key").exists()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path, size):
    folder = identity.owner_folder("clinic", tmp_path)
    (folder / "signing.key").write_bytes(b"x" * size)
    with pytest.raises(UserError, match=f"{size} bytes"):
        identity.signing_key(folder)
