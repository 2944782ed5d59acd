"""What every command prints: for people on stderr, for machines on stdout."""

import contextlib
import json
from pathlib import Path

import pytest

from sfumato.cli import _output
from sfumato.core.errors import UserError


def test_json_goes_to_stdout_and_words_to_stderr(capsys):
    _output.emit({"path": Path("a/b"), "n": 3})
    _output.say("[red]not markup[/red] for people")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema": 1, "path": "a/b", "n": 3}
    assert err == "[red]not markup[/red] for people\n"


def test_progress_as_lines_for_a_parent(capsys, monkeypatch):
    monkeypatch.setenv("SFUMATO_PROGRESS", "lines")
    with _output.bar("training", 4) as advance:
        advance(1)
        advance(2, 5, "loss 0.1")
    with _output.bar("of unknown length") as advance:
        advance(7)
    assert capsys.readouterr().err.splitlines() == ["progress 1 4", "progress 2 5", "progress 7 0"]


def test_a_verb_has_a_bar_for_each_of_its_phases(monkeypatch):
    opened, shown = [], []

    @contextlib.contextmanager
    def bar(title, total=None):
        opened.append((title, total))
        yield lambda *told: shown.append((title, *told))
        opened.append(f"end of {title}")

    monkeypatch.setattr(_output, "bar", bar)
    with _output.bars() as tell:
        assert not opened  # nothing is shown before there is something to show
        tell("finding", 1, 0)
        tell("training", 1, 2, "loss 0.1")
        tell("training", 2, 2)
    assert opened == [("finding", None), "end of finding", ("training", 2), "end of training"]
    assert shown == [("finding", 1, None, ""), ("training", 1, 2, "loss 0.1"), ("training", 2, 2, "")]


@pytest.mark.parametrize(("text", "step"), [("600", 600), ("none", None), ("NONE", None), ("-1", -1)])
def test_steps(text, step):
    assert _output.step_or_none(text, "--seal-step") == step


def test_a_step_that_is_none_says_which_option():
    with pytest.raises(UserError, match=r"(?s)--seal-step 'six'.*expected"):
        _output.step_or_none("six", "--seal-step")
