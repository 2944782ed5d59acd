"""The face of the library: its names, that each is documented, and that the examples do what they say."""

import ast
import dataclasses
import doctest
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sfumato
from sfumato.api import attack as attacks
from sfumato.api.audit_records import Claimed
from sfumato.judge.audit import repeats
from sharing_support import DIALECTS, write

VERBS = [
    "attack", "audit", "audit_records", "finetune", "generate", "load_base", "load_controlnet", "load_records", "next_round",
    "scrub", "seal", "start_pool", "train", "vote",
]  # fmt: skip
TYPES = [
    "Attacked", "AuditedRecords", "Evolved", "FinetuneConfig", "Finetuned", "Generated", "LoraSettings", "Report", "Scrubbed", "Sealed",
    "TrainConfig", "Trained", "Voted",
]  # fmt: skip
NAMES = {*VERBS, *TYPES}
ONCE = ("seal", "start_pool", "vote")  # ``world`` runs them: pictures leave once, and others need what they make


def test_the_names_of_the_face():
    assert set(sfumato.__all__) == {*NAMES, "__version__"} and set(sfumato.__all__) <= set(dir(sfumato))
    with pytest.raises(AttributeError, match="no attribute 'seel'; it has"):
        _ = sfumato.seel


def test_a_type_checker_reads_the_same_names():
    tree = ast.parse(Path(sfumato.__file__).read_text())
    read = {(node.module, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {pair for pair in read if "api" in pair[0]} == {(place, name) for name, place in sfumato._PLACES.items()}


def test_neither_a_look_nor_help_loads_torch():
    code = (
        "import sys, sfumato; dir(sfumato); from sfumato.cli import main; sys.argv = ['sfumato', '--help']\n"
        "try: main.main()\n"
        "finally: print({'torch', 'diffusers', 'numpy', 'msgspec', 'sfumato.core.registry'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout and done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_says_what_it_is(name):
    found = getattr(sfumato, name)
    said = inspect.getdoc(found)
    assert said
    if name in VERBS:
        for parameter in inspect.signature(found).parameters.values():
            assert parameter.annotation is not parameter.empty and parameter.name in said
        assert "Raises:" in said and "Examples:" in said


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini):
    """A place with pictures, a condition, records and a ControlNet, as the examples find them."""
    place = tmp_path_factory.mktemp("world")
    draw = np.random.default_rng(0)
    for folder in ("pictures", "public"):
        (place / folder).mkdir()
        for number in range(4):
            blocks = np.kron(draw.integers(0, 255, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            Image.fromarray(blocks).save(place / folder / f"{number}.png")
    Image.fromarray(np.kron(draw.integers(0, 2, (4, 4, 1)) * 255, np.ones((8, 8, 3))).astype(np.uint8)).save(place / "edges.png")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_HOME", str(place / "home"))
        patch.setattr(repeats, "SEEDS", 2)  # that the audit tries
        os.chdir(place)
        base = sfumato.load_base(mini)
        world = {"sfumato": sfumato, "base": base, "folder": mini, "place": place}
        world["sealed"] = run_example("seal", world)["sealed"]
        world["started"], world["voted"] = run_example("start_pool", world)["started"], run_example("vote", world)["voted"]
        world["trained"] = sfumato.train("records", "controlnet", base=base, config=sfumato.TrainConfig(steps=1, batch=2, held_out=0))
        write(place / "lora.safetensors", DIALECTS["kohya sd1"][0], {"ss_seed": "1"})
        yield world
        os.chdir(before)


def run_example(name, world):
    """Run the example of a verb; gives the names that it bound."""
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(sfumato, name), name, globs={**world})
    assert test.examples
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    result = runner.run(test, out=told.append, clear_globs=False)
    assert not result.failed, "".join(told)
    return test.globs


@pytest.mark.parametrize("name", [name for name in VERBS if name not in ONCE])
def test_the_example_does_what_it_says(name, world):
    run_example(name, world)


def test_pictures_are_the_same_from_memory_and_from_files(world):
    how = {"prompt": "ab", "steps": 1, "base": world["base"], "count": 2}
    held, written = sfumato.generate("controlnet", "edges.png", **how), sfumato.generate("controlnet", "edges.png", out="made", **how)
    assert not held.paths and [path.name for path in written.paths] == ["0000.png", "0001.png"]
    assert np.array_equal(held.images, written.images) and held.guidance == 3.0
    with pytest.raises(ValueError, match="there already"):
        sfumato.generate("controlnet", "edges.png", out="made", **how)


def test_results_cannot_be_changed_and_say_where_things_are(world):
    for result in (world["sealed"], world["trained"]):
        assert result.out.is_dir()
        with pytest.raises(AttributeError):
            result.out = None
    assert (
        world["sealed"].records == 4
        and world["sealed"].supplied_used == 0
        and any("chosen by hand" in line for line in world["sealed"].measured)
    )
    assert world["trained"].work == world["place"] / "controlnet-work" and not world["trained"].refused


def test_progress_and_notes_are_told_to_whoever_asks(world, tmp_path, capfd):
    steps, notes = [], []
    config = sfumato.TrainConfig(steps=2, batch=2, held_out=0)
    how = {"base": world["base"], "config": config, "on_progress": lambda *told: steps.append(told), "on_note": notes.append}
    patch = pytest.MonkeyPatch()
    patch.setenv("SFUMATO_HOME", str(tmp_path / "another machine"))
    with patch.context():
        sfumato.train(world["sealed"].out, tmp_path / "net", **how)
        sfumato.train(world["sealed"].out, tmp_path / "net", overwrite=True, **how)
    patch.undo()
    assert [told[:3] for told in steps if told[0] == "training"][:2] == [("training", 1, 2), ("training", 2, 2)]
    assert len([note for note in notes if "not seen before" in note]) == 1
    assert not capfd.readouterr().out


def test_options_that_are_half_a_choice_are_refused_before_anything_is_read(world):
    for how in ({"seal_step": "none"}, {"condition_step": 300}, {"seal_step": 900, "privacy": "low"}, {"seal_step": True}, {"bits": 4}):
        with pytest.raises(ValueError, match="expected:"):
            sfumato.seal("nowhere", "out", owner="me", condition="canny", base=world["base"], **how)
    with pytest.raises(ValueError, match="no --out"):
        sfumato.seal("pictures", owner="me", seal_step=900, base=world["base"])


def test_a_trial_needs_no_place_and_is_no_release(world):
    tried = sfumato.seal("pictures", owner="me", seal_step=900, base=world["base"], trial=True)
    assert tried.trial and tried.out.is_relative_to(world["place"] / "home") and tried.manifest.standing == "trial"
    assert tried.released_before == 4 and tried.records == 4


def test_an_adapter_is_refused_before_anything_is_read(world):
    wrong = [{"out": "x.bin"}, {"prior": -1}, {"seed": -1}, {"format": "zip"}, {"trigger": " "}, {"crop": "fit"}]
    for how in (*wrong, {"config": sfumato.FinetuneConfig(lr=2.0)}):
        with pytest.raises(ValueError, match="expected:"):
            sfumato.finetune("nowhere", **{"out": "none.safetensors", "base": world["base"], **how})


def test_an_audit_names_what_is_refuted_and_what_is_damaged(world, tmp_path):
    shutil.copytree("records", tmp_path / "records")
    (shard,) = (tmp_path / "records").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    audited = sfumato.audit_records(tmp_path / "records", base=world["base"])
    assert len(audited.bad) == 1 and shard.name in audited.bad[0] and not audited.anybody and not audited.refuted
    assert not audited.claims.anybody.tested and audited.claims.owner is None and audited.claims.claimed.secure_noise


def test_an_audit_says_of_each_test_what_it_found(world):
    found = sfumato.audit_records("records", truth="pictures", base=world["base"])
    assert found.claims.claimed == Claimed(clip=None, condition_clip=None, releases=1, secure_noise=True)
    assert found.claims.anybody.matched is None and found.claims.owner.matched == found.matched == "ledger"
    for check in (*found.anybody, *found.owner):
        assert check.field and check.asks and check.looked_at >= 1 and check.refuted is (check.p <= check.threshold) is False
    refuted = dataclasses.replace(found, claims=dataclasses.replace(found.claims, refuted=True))
    assert refuted.refuted and refuted.anybody == found.anybody


SETTINGS = {
    "records": "0", "pictures": "0", "effort": "quick", "seed": 0, "base": "0", "public": "", "controlnet": "", "people": 300, "each": 8,
    "version": "0",
}  # fmt: skip


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1), (None, 2)])
def test_an_attack_that_was_scored_and_one_that_was_not(passed, code):
    scored = {"outcome": "scored", "target": "person", "score": 0.5, "low": 0.4, "high": 0.6, "prior_only": 0.1, "n": 9}
    figures = {
        "attacks": {"algebraic": scored, "fsha": {"outcome": "no channel", "why": "no GradientChannel"}}, "records": 9, "audited": 5,
        "gates": [{"name": "person", "passed": passed, "found": "0.5", "asked": "below 0.2"}], "passed": passed,
        "verdict": {"state": "open", "headline": "so", "notes": ["but"], "commands": []}, "gates_from": "gates.toml",
        "matched": "ledger", "standing": "release", "withdrawn": "", "leaks": {"Latents": 1}, "person": "", "unasked": {},
        "settings": SETTINGS, "cells": {"more": "that no caller needs"},
    }  # fmt: skip
    found = attacks._result(Path("out"), figures)
    one, other = found.scores
    assert (one.target, one.score, one.guess, one.n) == ("person", 0.5, 0.1, 9) and (other.score, other.why) == (None, "no GradientChannel")
    assert found.exit_code == code and found.gates[0].passed is passed and found.notes == ("but",) and found.headline == "so"
    assert found.attacks["algebraic"].prior_only == 0.1 and found.settings.effort == "quick" and found.leaks == {"Latents": 1}
    with pytest.raises(ValueError, match=r"(?s)attack.json.*matched"):
        attacks._result(Path("out"), {**figures, "matched": None})
