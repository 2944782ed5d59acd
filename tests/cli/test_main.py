"""What every command does with what it did not expect, and with words from outside."""

import ast
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.accounting import gaussian
from sfumato.cli import _output
from sfumato.cli import main as cli
from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.diffusion.noising import eps_from
from sfumato.records.record import SealSettings
from sfumato.server.fit import TrainConfig

HOSTILE = "\x1b[2J\x1b]0;title\x07 :x: [red]a[/red] \u202egnp"


@pytest.fixture
def ending(run, monkeypatch):
    """How ``sfumato version`` ends when this happens inside it: code, JSON, words."""

    def go(happen):
        monkeypatch.setattr("sfumato.cli._output.emit", lambda value: happen())
        code, out, err = run("version", "--json")
        assert json.loads(out)["exit_code"] == code and "Traceback" not in err
        return code, json.loads(out)["error"], err

    return go


def thrown(error):
    def happen():
        raise error

    return happen


@pytest.mark.parametrize(
    "happen",
    [
        thrown(RecursionError("maximum recursion depth exceeded")),
        thrown(OverflowError("too large")),
        thrown(KeyError("gone")),
        thrown(AssertionError()),
        thrown(RuntimeError("shape '[2]' is invalid")),
        lambda: struct.unpack("<Q", b"short"),
        lambda: json.loads("{"),
        lambda: np.zeros(3).reshape(2, 2),
        lambda: int("x"),
        lambda: eps_from(torch.zeros(1), torch.zeros(1), torch.zeros(1), None, "x"),  # a ValueError of this package that is no UserError
        lambda: None.nothing,
        lambda: b"\xff".decode(),
    ],
)
def test_a_fault_is_three_and_its_traceback_kept(ending, home, happen):
    code, said, err = ending(happen)
    (kept,) = (home / "faults").iterdir()
    assert code == 3 and "a fault of sfumato" in err and str(kept) in said and "Traceback" in kept.read_text()


def test_whoever_mends_sees_the_traceback(run, monkeypatch):
    monkeypatch.setenv("SFUMATO_DEBUG", "1")
    monkeypatch.setattr("sfumato.cli._output.emit", lambda value: None.nothing)
    code, _, err = run("version", "--json")
    assert code == 3 and "Traceback" in err and "None.nothing" in err


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (thrown(UserError("wrong", fix="so")), "fix: so"),
        (lambda: TrainConfig(steps=0), "at least 1"),
        (lambda: SealSettings(condition="canny", seal_step=-1, condition_step=None), "expected a step"),
        (lambda: registry.get("conditions", "nothing"), "unknown name 'nothing'"),
        (lambda: gaussian.target_mu(-1.0, 1e-5), "expected"),
        (thrown(MemoryError()), "not enough memory"),
        (thrown(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")), "not enough memory"),
        (lambda: torch.empty(2**60), "not enough memory"),
        (thrown(PermissionError(13, "Permission denied", "/x")), "/x: Permission denied"),
    ],
)
def test_what_the_caller_can_mend_is_two(ending, home, happen, said):
    code, error, _ = ending(happen)
    assert code == 2 and said in error and not (home / "faults").exists()


@pytest.mark.parametrize("arguments", [("seal",), ("nothing",), ("version", "--what"), ("train", "x", "--steps", "many", "-o", "y")])
def test_a_wrong_call_is_two_and_says_where_help_is(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2 and "--help" in err and "Usage" in err


# ---------------------------------------------------------------- words from outside


def clean(text):
    return not set(text) & set("\x1b\x07\u202e") and "❌" not in text


def test_whatever_is_said_or_shown_does_nothing_to_the_terminal(capsys):
    _output.say(HOSTILE)
    _output.show(HOSTILE)
    with _output.bar(HOSTILE, 2) as advance:
        advance(1, 2, HOSTILE)
    said = capsys.readouterr()
    for text in said:
        assert clean(text)
    assert ":x:" in said.err and "[red]a[/red]" in said.err and ":x:" in said.out


@pytest.mark.parametrize("arguments", [("version", "--" + HOSTILE), (HOSTILE,), ("train", HOSTILE, "--steps", HOSTILE, "-o", "y")])
def test_a_wrong_call_is_quoted_harmlessly(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and clean(out) and clean(err)


@pytest.mark.parametrize("error", [UserError(HOSTILE), OSError(13, "denied", HOSTILE), KeyError(HOSTILE), MemoryError(HOSTILE)])
def test_errors_quote_harmlessly(ending, error):
    code, _, err = ending(thrown(error))
    assert code in (2, 3) and clean(err)


def test_a_folder_called_like_an_emoji(run, tmp_path):
    (tmp_path / "a:x:b").mkdir()
    code, _, err = run("seal", tmp_path / "a:x:b", "-o", tmp_path / "r", "--owner", "clinic")
    assert code == 2 and "a:x:b" in err.replace("\n", "")


def test_no_command_prints_but_by_what_escapes():
    """Direct ways to the terminal are those of ``_output``, and JSON."""
    ways = {"echo", "secho", "print_json"}
    for path in Path(cli.__file__).parent.glob("*.py"):
        if path.name == "_output.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            json_alone = bool(call.args) and ast.unparse(call.args[0]).startswith("json.dumps(")
            direct = (
                (name == "print" and "print" not in bound) or name.rpartition(".")[2] in ways or name.startswith(("sys.std", "console."))
            )
            assert json_alone or not direct, f"{path.name}:{call.lineno}: {name}"


@pytest.mark.parametrize("arguments", [(), ("attack-weights",)])
def test_without_arguments_help_is_shown(run, arguments):
    _, out, err = run(*arguments)
    assert "Usage" in out + err
