"""The owner's loop in small: a trial that fails costs no release, and what passed is sealed once."""

import json
import sys

import pytest

from sfumato.cli import main as cli
from sfumato.studies.records import people
from tests_support import load_recipe

example = load_recipe("owner_loop", folder="examples")


@pytest.fixture
def loop(make_folder, mini, home, tmp_path, monkeypatch, capsys):
    """Run the example in this process, at a glance; gives (exit code, what it said, ``loop.json``)."""
    drawn = people.prior
    monkeypatch.setattr(people, "prior", lambda *a, **how: drawn(*a, **{**how, "drawn": 2}))
    pictures, public = make_folder(count=6), make_folder("public", count=60, seed=0)

    said: list[str] = []

    def sfumato(*words, may_fail=False):
        said.append(capsys.readouterr().out)
        monkeypatch.setattr(sys, "argv", ["sfumato", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        code = int(stop.value.code or 0)
        assert may_fail or not code
        return json.loads(capsys.readouterr().out), code

    def go(gates, *steps):
        (tmp_path / "asked.toml").write_text(gates)
        words = [pictures, "--out", tmp_path / "loop", "--public", public, "--base", mini, "--effort", "glance", "--attacks", "algebraic"]
        words += ["--gates", tmp_path / "asked.toml", "--steps", *steps]
        monkeypatch.setattr(sys, "argv", ["owner_loop", *map(str, words)])
        monkeypatch.setattr(example, "sfumato", sfumato)
        code = example.main()
        return code, "".join([*said, capsys.readouterr().out]), json.loads((tmp_path / "loop/loop.json").read_text())

    return go


def test_what_passes_is_sealed_for_good_and_is_the_first_release(loop, home, tmp_path):
    code, said, found = loop("[structure]\nreleases = 1\n[person]\ntimes_prior = 3.0\n", 900)
    assert code == 0 and found["attacked"][-1]["unasked"]["person"] in said
    assert [(one["step"], one["trial"], one["exit_code"]) for one in found["attacked"]] == [(900, True, 0), (900, False, 0)]
    assert found["attacked"][0]["gates"] == {"structure": "passed", "person": "not asked"}
    assert json.loads((tmp_path / "loop/records/manifest.json").read_text())["privacy"]["releases"] == 1
    assert len((home / "ledger/releases.jsonl").read_text().splitlines()) == 1


def test_where_nothing_passes_nothing_is_sealed(loop, home, tmp_path):
    code, said, found = loop("[structure]\nreleases = 0\n", 700, 900)
    assert code == 1 and "nothing was sealed" in said
    assert [(one["step"], one["trial"], one["exit_code"]) for one in found["attacked"]] == [(700, True, 1), (900, True, 1)]
    assert not (tmp_path / "loop/records").exists() and not (home / "ledger/releases.jsonl").exists()
