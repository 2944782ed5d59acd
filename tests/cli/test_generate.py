"""``sfumato generate`` as its users run it, on a small random base."""

import json

import numpy as np
import pytest
from PIL import Image

from sfumato.api import generate as api
from sfumato.core.errors import UserError
from sfumato.diffusion import base as bases
from sfumato.diffusion import controlnet as nets
from sfumato.server import generate as server
from tests_support import acting_controlnet


@pytest.fixture(scope="module")
def net(base, tmp_path_factory):
    """A ControlNet's folder as ``train`` leaves it."""
    folder = tmp_path_factory.mktemp("net")
    nets.save_controlnet(acting_controlnet(base), folder, nets.describe(base, condition="canny", captioned=False))
    return folder


@pytest.fixture
def edges(tmp_path):
    """A folder of condition pictures, a hidden one and other files among them."""
    folder = tmp_path / "edges"
    folder.mkdir()
    for number, name in enumerate(("anna.png", "bob.jpg", "cleo.png", "cleo.webp", ".hidden.png")):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("x")
    return folder


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image), dict(image.text)


def test_a_folder_of_conditions_keeps_its_names(run, net, edges, mini, tmp_path):
    out = tmp_path / "out"
    how = ("generate", net, "--base", mini, "--steps", 2, "--prompt", "ab", "--json")
    code, said, _ = run(*how, "--condition", edges, "-o", out)
    assert code == 0 and sorted(path.name for path in out.iterdir()) == ["anna.png", "bob.png", "cleo.png.png", "cleo.webp.png"]
    assert sorted(json.loads(said)["pictures"]) == sorted(str(path) for path in out.iterdir())
    assert run(*how, "--condition", edges, "-n", 2, "-o", tmp_path / "two")[0] == 0
    assert {"anna-0000.png", "anna-0001.png", "cleo.webp-0001.png"} <= {path.name for path in (tmp_path / "two").iterdir()}
    assert run(*how, "--condition", edges / "anna.png", "-n", 2, "-o", tmp_path / "one")[0] == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["0000.png", "0001.png"]
    alone, first = pixels(tmp_path / "one" / "0000.png")[0], pixels(out / "anna.png")[0]
    assert np.abs(alone.astype(int) - first).max() <= 2  # the first of either is the same condition, prompt and noise


def test_more_than_are_drawn_at_once_are_what_they_would_be_together(base, monkeypatch):
    monkeypatch.setattr(server, "BATCH", 2)
    how = {"seed": 3, "steps": 2}
    whole = server.generate(base, ["ab"] * 5, **how)
    parts = [server.generate(base, ["ab"] * count, first=number, **how) for number, count in enumerate((2, 2, 1))]
    assert np.array_equal(whole, np.concatenate(parts)) and not np.array_equal(parts[0], parts[1])


def test_how_a_picture_was_made_stands_in_it_and_nothing_else(run, net, edges, mini, tmp_path):
    words = ("--prompt", "a peep, größer", "--seed", 7, "--steps", 2, "--guidance", 2.5)
    assert run("generate", net, "--condition", edges, "--base", mini, *words, "-o", tmp_path / "out")[0] == 0
    text = pixels(tmp_path / "out" / "bob.png")[1]
    wanted = {"prompt": "a peep, größer", "seed": "7", "picture": "1", "steps": "2", "guidance": "2.5", "base": mini.name}
    assert {name: text[name] for name in wanted} == wanted and set(text) == {*wanted, "software"}
    for path in (tmp_path / "out").iterdir():
        for private in (str(tmp_path), str(net), str(mini), "anna", "bob"):
            assert private.encode() not in path.read_bytes()


def test_without_a_prompt_the_condition_alone_is_followed_and_it_is_said(run, net, edges, mini, tmp_path):
    how = ("generate", net, "--condition", edges / "anna.png", "--base", mini, "--steps", 2)
    _, _, err = run(*how, "-o", tmp_path / "a")
    assert "no --prompt" in err and pixels(tmp_path / "a" / "0000.png")[1]["guidance"] == "1.0"
    _, _, err = run(*how, "-o", tmp_path / "b", "--guidance", 4)
    assert "changes nothing" in err
    one, other = (pixels(tmp_path / name / "0000.png")[0].astype(int) for name in "ab")
    assert np.abs(one - other).max() <= 2
    _, _, err = run(*how, "-o", tmp_path / "c", "--prompt", "ab")
    assert "no --prompt" not in err and pixels(tmp_path / "c" / "0000.png")[1]["guidance"] == "3.0"


def test_nothing_is_overwritten_unasked(run, net, edges, mini, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "bob.png").write_bytes(b"mine")
    how = ("generate", net, "--condition", edges, "--base", mini, "--steps", 2, "-o", out)
    monkeypatch.setattr(bases, "load_base", lambda *_, **__: pytest.fail("said before anything is loaded"))
    code, _, err = run(*how)
    assert code == 2 and "bob.png: there already" in err and "--overwrite" in err and [p.name for p in out.iterdir()] == ["bob.png"]
    monkeypatch.undo()
    assert run(*how, "--overwrite")[0] == 0 and (out / "bob.png").read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--steps", 0), "--steps 0"),
        (("-n", 0), "at least 1 picture"),
        (("--seed", -1), "--seed -1"),
        (("--guidance", "nan"), "--guidance nan"),
        (("--guidance", "inf"), "--guidance inf"),
    ],
)
def test_numbers_that_cannot_be_are_refused(run, net, edges, tmp_path, wrong, said):
    code, _, err = run("generate", net, "--condition", edges, "-o", tmp_path / "out", *wrong)
    assert code == 2 and said in err and not (tmp_path / "out").exists()


def test_a_missing_condition_is_called_missing(run, net, tmp_path):
    code, _, err = run("generate", net, "--condition", tmp_path / "gone.png", "-o", tmp_path / "out")
    assert code == 2 and "gone.png: missing" in err
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures in it"):
        api.conditions(tmp_path / "empty")


@pytest.mark.parametrize("name", ["stranger/trap", "/", "https://example.org/x", "../elsewhere"])
def test_a_base_that_a_stranger_names_is_never_opened(run, net, edges, tmp_path, monkeypatch, name):
    folder = tmp_path / "net"
    folder.mkdir()
    for path in net.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((net / "sfumato.json").read_text())
    settings["base"] |= {"name": name, "local": False}
    (folder / "sfumato.json").write_text(json.dumps(settings))
    monkeypatch.setattr("sfumato.diffusion.base.facts_of", lambda name: pytest.fail(f"opened {name}"))
    code, _, err = run("generate", folder, "--condition", edges, "-o", tmp_path / "out")
    assert code == 2 and "--base" in err and name in err
    with pytest.raises(UserError, match="--base"):
        nets.load_controlnet(folder)


def test_the_base_that_ships_needs_no_naming():
    assert nets.base_of({"base": {"name": "tiny"}}) == "tiny"
