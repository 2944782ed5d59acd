"""Methods of ours, and those of strangers: whatever is wrong with one of them, it is named and the others go on."""

import ast
import importlib
import re
import sys
import warnings
from pathlib import Path

import pytest

import sfumato
from sfumato.core import registry
from sfumato.core.errors import UserError

SOURCE = Path(sfumato.__file__).parent
GOOD = 'DESCRIPTION = "nothing"\ndef extract(image):\n    return image * 0\n'


def said(what):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = what()
    return result, [str(one.message) for one in found if issubclass(one.category, registry.PluginWarning)]


def test_the_packages_that_take_methods_are_those_that_are_asked_for_methods():
    asked = set()
    for path in SOURCE.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) in ("registry.get", "registry.names", "registry.working", "Attacks[Guess]", "Attacks"):
                asked |= {argument.value for argument in call.args[:1] if isinstance(argument, ast.Constant)}
    constants = {value for path in SOURCE.rglob("*.py") for value in re.findall(r'^PACKAGE = "([\w.]+)"', path.read_text(), re.MULTILINE)}
    assert asked and asked | constants == set(registry.packages())


@pytest.mark.parametrize("package", sorted(registry.packages()))
def test_every_method_of_ours_has_what_a_plug_in_must_have(package):
    for name in registry.names(package):
        assert [one for one in registry.packages()[package] if not hasattr(registry.get(package, name), one)] == [], name


def test_a_plug_in_is_one_more_method(plug_in):
    plug_in({"sfumato.conditions": {"black": "black_module"}}, black_module=GOOD)
    names, warned = said(lambda: registry.working("conditions"))
    assert {"black", "canny"} <= set(names) and not warned and "black" in registry.names("conditions")
    assert registry.get("conditions", "black") is importlib.import_module("black_module")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def", "SyntaxError"),
        ("raise SystemExit(1)", "SystemExit"),
        ("1 / 0", "ZeroDivisionError"),
        ("DESCRIPTION = ''", "it has no extract"),
    ],
)
def test_a_broken_plug_in_names_itself_and_stops_no_other(plug_in, source, why):
    plug_in({"sfumato.conditions": {"bad": "bad_module", "black": "black_module"}}, bad_module=source, black_module=GOOD)
    names, (warned,) = said(lambda: registry.working("conditions"))
    assert "bad" not in names and {"black", "canny", "given", "scribble"} <= set(names)
    for words in ("stranger 1.0", "sfumato.conditions", "bad = bad_module", why):
        assert words in warned
    with pytest.raises(UserError, match="plug-in stranger 1.0") as raised:  # whoever asks for it by name is told
        registry.get("conditions", "bad")
    assert why in str(raised.value) and "uninstall stranger" in raised.value.fix


def test_a_group_that_there_is_not_is_warned_of_by_name(plug_in):
    plug_in({"sfumato.condition": {"black": "black_module"}, "other.group": {"x": "y"}}, black_module=GOOD)
    names, (warned,) = said(lambda: registry.names("conditions"))
    assert "black" not in names and "stranger 1.0, sfumato.condition: black" in warned and "sfumato.attacker.records" in warned
    assert said(lambda: registry.names("schemes"))[1] == []  # once is enough


def test_a_name_of_ours_cannot_be_taken(plug_in):
    plug_in({"sfumato.conditions": {"canny": "black_module"}}, black_module=GOOD)
    found, (warned,) = said(lambda: registry.get("conditions", "canny") if registry.names("conditions") else None)
    assert found.__name__ == "sfumato.conditions.canny" and "canny = black_module" in warned and "sfumato's own" in warned


def test_two_strangers_of_one_name(plug_in):
    plug_in({"sfumato.conditions": {"black": "black_module"}}, black_module=GOOD)
    plug_in({"sfumato.conditions": {"black": "other_module"}}, name="second", other_module=GOOD)
    names, (warned,) = said(lambda: registry.names("conditions"))
    assert names.count("black") == 1 and "stranger 1.0" in warned and "second 1.0" in warned


def test_an_attack_that_does_not_load_leaves_the_others_to_be_run(plug_in):
    from sfumato.attacker.records import base as attacks

    before = attacks.rows()
    plug_in({"sfumato.attacker.records": {"bad": "bad_module"}}, bad_module="DESCRIPTION = 'x'")
    rows, warned = said(attacks.rows)
    assert rows == before and "no TARGETS, no NEEDS, no COUNT, no run" in warned[0]


def test_a_command_says_it_in_words(plug_in, home, capsys, monkeypatch):
    from sfumato.cli import main as cli

    plug_in({"sfumato.conditions": {"bad": "bad_module"}}, bad_module="1 / 0")
    monkeypatch.setattr(sys, "argv", ["sfumato", "version", "--json"])
    monkeypatch.setattr("sfumato.cli._output.emit", lambda value: registry.working("conditions"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    err = capsys.readouterr().err
    assert err.startswith("warning: left out: plug-in stranger 1.0") and "registry.py" not in err
