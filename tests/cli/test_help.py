"""Help says something of every argument of every command, and where things lie."""

import re

import pytest

from sfumato import __version__
from sfumato.cli import _help
from sfumato.cli import main as cli
from sfumato.cli.main import app
from sfumato.judge import gates

COMMANDS = {" ".join(path): command for path, command in _help.walk(_help.built(app))}


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_argument_and_every_command_has_a_help_text(path):
    command = COMMANDS[path]
    assert command.help and command.help.strip()
    missing = [parameter.name for parameter in command.params if not (getattr(parameter, "help", None) or "").strip()]
    assert not missing


def test_arguments_are_explained_where_they_are_shown(run):
    code, out, _ = run("seal", "--help")
    assert code == 0 and "Your pictures" in out


def test_the_version_is_told_at_once(run):
    code, out, _ = run("--version")
    assert code == 0 and out.strip() == f"sfumato {__version__}"


def test_help_says_where_the_gates_lie():
    (said,) = [parameter.help for parameter in COMMANDS["attack"].params if parameter.name == "gates"]
    assert gates.place() in said


def test_commands_are_grouped_by_whose_they_are(run):
    said, groups = run("--help")[1], [group for group in cli.GROUPS if group]
    places = [said.index(f"─ {group} ") for group in groups]
    assert {"Owner", "Server"} <= set(groups) and places == sorted(places)
    ends = [*places[1:], len(said)]
    shown = {group: said[start:end] for group, start, end in zip(groups, places, ends, strict=True)}
    for group, modules in cli.GROUPS.items():
        for module in modules:
            name = module.__name__.rpartition(".")[2].replace("_", "-")
            assert name in COMMANDS and re.search(rf"^│ {name} ", shown[group] if group else said[: places[0]], re.MULTILINE)
