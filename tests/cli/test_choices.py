"""Closed sets: the command offers what their owners take, completes them in a shell, and refuses the rest at once."""

import os
import subprocess
import sys

import pytest

from sfumato.adapters import formats as adapters
from sfumato.adapters.dreambooth import FinetuneConfig
from sfumato.attacker.attempt import EFFORTS
from sfumato.cli import _choices, _help
from sfumato.cli.main import app
from sfumato.owner.picture_file import CROPS
from sfumato.records.presets import LEVELS
from sfumato.server.fit import TrainConfig

COMMANDS = {" ".join(path): command for path, command in _help.walk(_help.built(app))}
CHOSEN = [
    (path, parameter)
    for path, command in COMMANDS.items()
    for parameter in command.params
    if hasattr(parameter.type, "choices")
]  # fmt: skip


@pytest.mark.parametrize(
    ("choices", "owner"),
    [
        (_choices.Effort, EFFORTS),
        (_choices.Lasting, EFFORTS[1:]),
        (_choices.Crop, CROPS),
        (_choices.Privacy, LEVELS),
        (_choices.AdapterFormat, adapters.FORMATS),
    ],
)
def test_what_is_offered_is_what_its_owner_takes(choices, owner):
    assert sorted(choices) == sorted(owner)


def test_every_precision_that_is_offered_is_taken():
    for one in _choices.AdapterPrecision:
        assert FinetuneConfig(precision=one.value).precision == one
    for one in set(_choices.Precision) - {_choices.Precision.AUTO}:
        assert TrainConfig(precision=one.value).precision == one


def test_options_of_these_names_are_choices_in_every_command():
    names = {parameter.name for _, parameter in CHOSEN}
    loose = [
        (path, parameter.name) for path, command in COMMANDS.items() for parameter in command.params
        if parameter.name in names and (path, parameter) not in CHOSEN
    ]  # fmt: skip
    assert {"effort", "crop", "form", "format", "privacy", "precision"} <= names and not loose


@pytest.mark.parametrize(("path", "parameter"), CHOSEN, ids=[f"{path} {parameter.name}" for path, parameter in CHOSEN])
def test_a_wrong_one_is_refused_with_those_that_there_are(run, path, parameter):
    code, _, err = run(*path.split(), parameter.opts[0], "heroic")
    assert code == 2 and "heroic" in err and all(f"'{one}'" in err for one in parameter.type.choices)


@pytest.mark.parametrize(("words", "offered"), [("sfumato att", {"attack", "attack-weights"}), ("sfumato attack --effort q", {"quick"})])
def test_a_shell_completes_commands_and_choices_without_torch(words, offered):
    code = (
        "import sys; sys.argv[0] = 'sfumato'\nfrom sfumato.cli import main\n"
        "try: main.main()\nfinally: assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    how = {"_SFUMATO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **how}, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered
