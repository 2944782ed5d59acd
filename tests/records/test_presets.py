"""Presets hold for the base on which they were measured, and for no other."""

import json

import pytest

from sfumato.core.errors import UserError
from sfumato.records import presets

ROW = {"seal_step": 800, "condition_step": 400, "derived": False}


def test_what_was_calibrated_here_is_found_again(home):
    path = presets.save("f" * 64, [4, 16, 16], {"high": ROW}, condition="scribble", command="x")
    assert path.is_relative_to(home) and json.loads(path.read_text())["command"] == "x"
    found = presets.find("high", "f" * 64, (4, 16, 16), condition="scribble")
    assert (found.seal_step, found.condition_step, found.derived, found.condition) == (800, 400, False, "scribble")
    derived = {"seal_step": 700, "condition_step": None, "derived": True}
    presets.save("f" * 64, [4, 16, 16], {"high": derived}, condition="canny", command="x")
    assert presets.find("high", "f" * 64, (4, 16, 16), condition="canny").derived
    with pytest.raises(UserError, match="expected: canny"):  # what was measured with one condition says nothing of another
        presets.find("high", "f" * 64, (4, 16, 16), condition="scribble")


def test_a_level_says_what_was_measured_of_it(home):
    budget = {"records of a person": 5.0}
    person = {"attack": "pooling:records, recombined", "score": 0.09, "bound": 0.16, "chance": 0.005, "budget": budget}
    rows = {"high": {**ROW, "adherence": {"mean": 0.84}, "person": person}, "low": {**ROW, "adherence": {"mean": 0.9}, "person": None}}
    presets.save("f" * 64, [4, 16, 16], rows, condition="canny", command="x")
    said = presets.describe("high", "f" * 64, (4, 16, 16))
    assert all(word in said for word in ("0.84", "pooling:records", "0.090", "0.160", "from 5 records", "0.005", "No guarantee"))
    assert "not tested" in presets.describe("low", "f" * 64, (4, 16, 16))


@pytest.mark.parametrize(
    ("level", "fingerprint", "latent", "said"),
    [
        ("high", "e" * 64, (4, 16, 16), "carry more signal"),
        ("high", "f" * 64, (4, 64, 64), "no preset 'high'"),
        ("low", "f" * 64, (4, 16, 16), "no preset 'low'"),
        ("extreme", "f" * 64, (4, 16, 16), "low, medium, high"),
    ],
)
def test_elsewhere_there_are_none(home, level, fingerprint, latent, said):
    presets.save("f" * 64, [4, 16, 16], {"high": ROW}, condition="canny", command="x")
    with pytest.raises(UserError, match=said):
        presets.find(level, fingerprint, latent, condition="canny")
