import pytest

from sfumato.core import finished
from sfumato.core.errors import UserError


def test_a_new_place_is_free_and_what_is_there_is_kept(tmp_path):
    new, old, link = tmp_path / "new", tmp_path / "old", tmp_path / "link"
    finished.keep(new, overwrite=False)
    old.write_text("x")
    link.symlink_to(tmp_path / "nowhere")  # writing to it would write elsewhere
    for there in (old, link):
        with pytest.raises(UserError, match="there already") as raised:
            finished.keep(new, there, overwrite=False, option="--picture")
        assert str(there) in raised.value.got and "--overwrite" in raised.value.fix and "--picture" in raised.value.fix
    with pytest.raises(UserError, match="and 1 more: there already, of another run"):
        finished.keep(old, link, overwrite=False, what="of another run")
    finished.keep(old, link, overwrite=True)
    assert old.read_text() == "x"  # it judges, and removes nothing
