"""A name belongs to the first key that was remembered under it."""

import json
from types import SimpleNamespace

import pytest

from sfumato.core.errors import RecordError, UserError
from sfumato.records.trust import check_owner, home, remember_owner


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


def test_a_damaged_list_is_no_empty_list(tmp_path):
    (tmp_path / "known_owners.json").write_text("{")
    with pytest.raises(UserError, match="known owners"):
        check_owner(signed("clinic", "a"), store=tmp_path)
