"""An audit holds true pictures: it is its owner's alone, and never where pictures would get away from."""

import stat

import pytest

from sfumato.core.errors import UserError
from sfumato.core.private import private
from sfumato.studies.records import audit_folder


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folders(tmp_path):
    for name in ("records", "pictures"):
        (tmp_path / name / "below").mkdir(parents=True)
    return tmp_path, tmp_path / "records", tmp_path / "pictures"


def test_all_of_it_is_private_whatever_wrote_it(folders):
    out = folders[0] / "deep" / "out"
    with private(out):
        (out / "pictures").mkdir()
        (out / "pictures" / "truth.npy").write_bytes(b"x")
    (out / "attack.html").write_text("of an earlier release")
    (out / "attack.html").chmod(0o644)
    with private(out):
        pass
    assert mode(out) == mode(out / "pictures") == 0o700
    assert mode(out / "pictures" / "truth.npy") == mode(out / "attack.html") == 0o600
    (folders[0] / "later").write_text("x")
    assert mode(folders[0] / "later") & 0o044  # the process goes on as it was


@pytest.mark.parametrize("where", ["records", "records/below", "records/new", "pictures", "pictures/new", ".", "link"])
def test_places_from_which_pictures_would_get_away_are_refused(folders, where):
    root, records, pictures = folders
    (root / "link").symlink_to(records / "below")
    with pytest.raises(UserError, match="--out") as raised:
        audit_folder.check(root / where, records, pictures)
    assert raised.value.privacy


def test_a_folder_with_other_things_in_it_is_not_made_private(folders):
    root, records, pictures = folders
    (root / "mine").mkdir()
    audit_folder.check(root / "mine", records, pictures)
    for name in audit_folder._OURS:
        (root / "mine" / name).write_text("x")
    audit_folder.check(root / "mine", records, pictures)
    (root / "mine" / "letter.txt").write_text("x")
    with pytest.raises(UserError, match="other files"):
        audit_folder.check(root / "mine", records, pictures)
    with pytest.raises(UserError, match="a file"):
        audit_folder.check(root / "mine" / "letter.txt", records, pictures)


def test_the_place_of_an_audit_is_its_own_and_the_same_again(folders, home, monkeypatch):
    _, records, _ = folders
    with pytest.raises(UserError):
        audit_folder.default(records, "quick")
    monkeypatch.setattr(audit_folder.manifest, "read", lambda folder: None)
    (records / "manifest.json").write_text("{}")
    first, full = audit_folder.default(records, "quick"), audit_folder.default(records, "full")
    assert first == audit_folder.default(records, "quick") != full
    assert first.parent == home / "audits" and first.name.startswith("records-")
    (records / "manifest.json").write_text('{"other": 1}')
    assert audit_folder.default(records, "quick") != first
