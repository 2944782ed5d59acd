"""Code blocks of the pages, run: Python as it stands, commands as far as their words."""

import re
import shlex
import warnings
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import typer
from PIL import Image

from sfumato.cli import main as cli
from sfumato.core import registry
from tests_support import code_blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README, CONTRIBUTING = PAGES[:2]
APP = typer.main.get_command(cli.app)


def command_of(words):
    """The command that the words begin with, and the words behind its name; None where they name none."""
    found, rest = APP, list(words[1:])
    while isinstance(found, click.Group) and rest and rest[0] in found.commands:
        found = found.commands[rest.pop(0)]
    return (None if isinstance(found, click.Group) else found), rest


def lines():
    for page in PAGES:
        for kind in ("bash", "sh"):
            for block in code_blocks(page, kind):
                for line in re.split(r"\n|&&", block):
                    if re.match(r"\s*(\S*/)?sfumato\s", line):
                        words = shlex.split(line, comments=True)
                        yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")


def quoted():
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for said in sorted(set(re.findall(r"`(sfumato [a-z][^`]*)`", text))):
            yield pytest.param(" ".join(said.split()), id=f"{page.name}: {' '.join(said.split())[:60]}")


def test_there_are_commands_to_try():
    assert len(list(lines())) >= 8 and len(list(quoted())) >= 8


@pytest.mark.parametrize("words", list(lines()))
def test_a_command_in_a_block_can_be_called_so(words):
    command, rest = command_of(words)
    assert command is not None
    with command.make_context(command.name, rest) as context:  # raises for an option, an argument or a value that is none
        assert set(context.params) == {parameter.name for parameter in command.params}


@pytest.mark.parametrize("said", list(quoted()))
def test_a_command_in_the_text_has_the_options_that_it_is_said_to_have(said):
    command, rest = command_of(shlex.split(said))
    assert command is not None or not rest, "no such command"
    known = {option for parameter in (command.params if command else ()) for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in rest if re.match(r"-\w|--\w", word)} <= known


@pytest.fixture
def place(tmp_path, monkeypatch, home, make_folder):
    """Where the pages' Python finds pictures and a condition."""
    make_folder("pictures", count=4)
    edges = np.zeros((64, 64, 3), np.uint8)
    edges[16:48, 16] = edges[16:48, 48] = 255
    Image.fromarray(edges).save(tmp_path / "edges.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_pages_runs_as_it_stands_but_for_the_steps_of_training(place):
    (verbs,), (stock,) = (code_blocks(page, "python") for page in (README, ROOT / "docs/howto/server.md"))
    assert verbs.count("steps=450") == 1 and len(verbs.strip().splitlines()) <= 10
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the libraries, to themselves
        for block in (verbs.replace("steps=450", "steps=1, batch=2, held_out=0"), stock):
            exec(compile(block, "a page", "exec"), found)
    made, picture = found["made"].images, np.asarray(found["picture"])
    assert made.dtype == np.uint8 and made.shape == (1, 64, 64, 3) and made.std() > 5
    assert picture.shape == (64, 64, 3) and picture.std() > 5


def template(word):
    (block,) = (block for block in code_blocks(CONTRIBUTING, "python") if word in block)
    return block


def test_the_template_of_a_condition_is_a_condition(plug_in):
    plug_in({"sfumato.conditions": {"bright": "bright_module"}}, bright_module=template("def extract"))
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4] = 200
    made = registry.get("conditions", "bright").extract(image)
    assert made.dtype == np.uint8 and (made[:4] == 255).all() and (made[4:] == 0).all()


def test_the_template_of_an_attack_is_an_attack(plug_in, base):
    from sfumato.attacker import attempt as attempts
    from sfumato.attacker.knowledge import Latents, Scenario
    from sfumato.attacker.records import base as attacks

    plug_in({"sfumato.attacker.records": {"taken": "taken_module"}}, taken_module=template("def run"))
    assert "taken" in attacks.rows()
    clean = torch.randn(3, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    n = torch.full((1, 3), 100)
    guess = attacks.attempt("taken", Scenario(Latents(base.schedule.alpha(n).float().view(1, 3, 1, 1, 1) * clean, n), base))
    assert not isinstance(guess, attempts.Failed), guess
    assert torch.allclose(guess.z_0, clean, atol=1e-4)
    assert {"quick", "full"} == set(attacks.attack("taken").COUNT) and str(attacks.attempt("taken", Scenario())) == "no Latents, no Base"


def test_every_group_of_plug_ins_is_named_with_what_a_module_must_have():
    rows = {cells[0].strip("` "): set(re.findall(r"`(\w+)`", cells[2])) for cells in (
        row.strip("|").split("|") for row in CONTRIBUTING.read_text().splitlines() if row.startswith("| `sfumato.")
    )}  # fmt: skip
    assert rows == {registry.PREFIX + package: set(wanted) for package, wanted in registry.packages().items()}


def test_the_readme_stays_a_page_that_people_read():
    text = README.read_text()
    assert len(text.splitlines()) <= 90 and text.count("<!-- figure: ") <= 6
