"""Presets hold for the base on which they were measured, and for no other."""

import json

import pytest

from sfumato.core.errors import UserError
from sfumato.records import presets

HOW = {"command": "x", "measured_on": "drawings of cats"}
ROW = {"seal_step": 800, "condition_step": 400, "derived": False}


def test_what_was_calibrated_here_is_found_again(home):
    path = presets.save("f" * 64, [4, 16, 16], {"high": ROW}, condition="scribble", **HOW)
    assert path.is_relative_to(home) and json.loads(path.read_text())["command"] == "x"
    found = presets.find("high", "f" * 64, (4, 16, 16), condition="scribble")
    assert (found.seal_step, found.condition_step, found.derived, found.condition) == (800, 400, False, "scribble")
    derived = {"seal_step": 700, "condition_step": None, "derived": True}
    presets.save("f" * 64, [4, 16, 16], {"high": derived}, condition="canny", **HOW)
    assert presets.find("high", "f" * 64, (4, 16, 16), condition="canny").derived
    with pytest.raises(UserError, match="expected: canny"):  # what was measured with one condition says nothing of another
        presets.find("high", "f" * 64, (4, 16, 16), condition="scribble")


PERSON = {"attack": "pooling:records, recombined", "score": 0.09, "low": 0.06, "high": 0.15, "upper": 0.16, "floor": 0.01, "chance": 0.005,
          "budget": {"records of a person": 5.0}}  # fmt: skip


def described(level="high", **changes):
    rows = {level: {**ROW, "adherence": {"mean": 0.84}, "person": PERSON, "met": True, **changes}}
    presets.save("f" * 64, [4, 16, 16], rows, condition="canny", **HOW)
    return "\n".join(presets.describe(level, "f" * 64, (4, 16, 16)))


def test_a_level_says_what_was_measured_of_it_and_on_whose_pictures(home):
    said = described()
    words = (
        "0.84",
        "pooling:records",
        "0.090 [0.060, 0.150]",
        "from 5 records",
        "0.005",
        "no guarantee",
        "drawings of cats",
        "the best attack we ran",
    )
    assert all(word in said for word in words) and "NOT MET" not in said and "at most" not in said
    assert "not tested" in described(person=None)


def test_a_level_that_is_not_met_says_so(home):
    said = described(met=False)
    assert "NOT MET" in said and "0.160" in said and "0.030" in said  # three times what a guess gets
    assert "NOT MET" in described(met=False, person=None)


@pytest.mark.parametrize(("low", "word"), [(0.45, "no more than"), (0.52, "taught more than")])
def test_a_level_says_what_its_records_taught_beside_what_needs_no_owner(home, low, word):
    taught = {"records": {"mean": 0.55, "low": low, "high": 0.6}, "no owner": {"mean": 0.49, "low": 0.46, "high": 0.51}}
    said = described(taught=taught)
    assert word in said and f"0.55 [{low:.2f}, 0.60] against 0.49 [0.46, 0.51]" in said


@pytest.mark.parametrize("damage", ["{", "[]", "3", '{"latent": [4, 16, 16]}', '{"latent": [4, 16, 16], "levels": 3}'])
def test_damaged_presets_choose_nothing(home, damage):
    path = presets.path_of("f" * 64)
    path.parent.mkdir(parents=True)
    path.write_text(damage)
    with pytest.raises(UserError, match="presets"):
        presets.find("medium", "f" * 64, (4, 16, 16), condition="canny")
    path.write_text(json.dumps({"latent": [4, 16, 16], "condition": "canny", "levels": {"medium": {"seal_step": 1}}}))
    with pytest.raises(UserError, match="damaged"):
        presets.find("medium", "f" * 64, (4, 16, 16), condition="canny")


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
    presets.save("f" * 64, [4, 16, 16], {"high": ROW}, condition="canny", **HOW)
    with pytest.raises(UserError, match=said):
        presets.find(level, fingerprint, latent, condition="canny")
