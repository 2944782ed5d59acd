import pytest

from sfumato.core import faults


def raised(error):
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_a_fault_is_said_in_a_line_and_kept_for_its_owner(home):
    said = faults.keep(raised(TypeError("one\ntwo")))
    (kept,) = (home / "faults").iterdir()
    assert "TypeError: one" in said and "two" not in said and str(kept) in said
    assert "test_faults.py" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    assert "KeyError" in faults.keep(raised(KeyError()))


def test_only_the_newest_are_kept(home):
    for number in range(faults.KEPT + 3):
        said = faults.keep(raised(ValueError(f"number {number}")))
    kept = list((home / "faults").iterdir())
    assert len(kept) == faults.KEPT and any(str(path) in said for path in kept)


def test_where_nothing_can_be_kept_it_is_said_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path / "file"))
    assert "SFUMATO_DEBUG" in faults.keep(raised(ValueError("\udc80")))


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False), (None, False)])
def test_whoever_mends_asks_for_tracebacks(monkeypatch, value, wanted):
    monkeypatch.delenv("SFUMATO_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("SFUMATO_DEBUG", value)
    assert faults.debugging() is wanted
