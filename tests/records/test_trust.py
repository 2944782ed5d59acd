"""A name belongs to the first key that was remembered under it."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from sfumato.core.errors import RecordError, UserError
from sfumato.core.home import home
from sfumato.records.trust import check_owner, remember_owner


def signed(owner, key):
    return SimpleNamespace(owner=owner, public_key=key * 64)


def test_home_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "here"))
    assert home() == tmp_path / "here"
    monkeypatch.setenv("SFUMATO_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".sfumato"


def test_a_look_writes_nothing(tmp_path):
    assert check_owner(signed("clinic", "a"), store=tmp_path) and check_owner(signed("clinic", "b"), store=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_first_key_that_is_remembered_stays(tmp_path):
    assert remember_owner(signed("clinic", "a"), store=tmp_path)
    assert not remember_owner(signed("clinic", "a"), store=tmp_path) and not check_owner(signed("clinic", "a"), store=tmp_path)
    for refuses in (check_owner, remember_owner):
        with pytest.raises(RecordError, match="known is aaaa") as error:
            refuses(signed("clinic", "b"), store=tmp_path)
        assert "remove the line" in error.value.fix
    assert json.loads((tmp_path / "known_owners.json").read_text()) == {"clinic": "a" * 64}


def test_owners_do_not_disturb_each_other(tmp_path):
    assert remember_owner(signed("clinic", "a"), store=tmp_path) and remember_owner(signed("studio", "b"), store=tmp_path)
    assert not check_owner(signed("clinic", "a"), store=tmp_path) and not check_owner(signed("studio", "b"), store=tmp_path)


DAMAGE = ["{", "3", "[]", "null", '"x"', '{"clinic": 3}', '{"clinic": null}', '{"clinic": "abc"}', '{"clinic": ["a"]}', "",
          '{"a": "' + "a" * 64 + '", "a": "' + "b" * 64 + '"}', '{"a": NaN}', "[" * 100_000, "\x00"]  # fmt: skip


@pytest.mark.parametrize("damage", [*(text.encode() for text in DAMAGE), b'{"clinic": "\xff"}'])
def test_a_damaged_list_is_no_empty_list(tmp_path, damage):
    (tmp_path / "known_owners.json").write_bytes(damage)
    for look in (check_owner, remember_owner):
        with pytest.raises(UserError, match="known_owners.json.*known owners") as error:
            look(signed("clinic", "a"), store=tmp_path)
        assert not isinstance(error.value, RecordError) and (tmp_path / "known_owners.json").read_bytes() == damage


def test_a_list_that_leads_nowhere_is_no_empty_list(tmp_path):
    (tmp_path / "known_owners.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(UserError, match="known owners"):
        remember_owner(signed("clinic", "a"), store=tmp_path)


def test_owners_that_are_remembered_at_once_are_all_remembered(tmp_path):
    names = [f"owner{i}" for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda name: remember_owner(signed(name, "a"), store=tmp_path), names))
    assert all(new) and sorted(json.loads((tmp_path / "known_owners.json").read_text())) == sorted(names)
