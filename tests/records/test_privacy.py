"""A statement follows from its settings, and nothing that does not is believed."""

from dataclasses import replace

import pytest

from sfumato.accounting import gaussian
from sfumato.records import privacy
from sfumato.records.record import SealSettings

BOUNDED = SealSettings(condition="canny", seal_step=900, condition_step=900, clip=8.0, condition_clip=4.0)
STATED = privacy.statement(BOUNDED, 0.5, releases=2, secure=True)


def test_an_exact_statement_names_all_it_depends_on():
    assert STATED["epsilon"] == pytest.approx(gaussian.epsilon(1e-5, 0.5))
    assert (STATED["unit"], STATED["relation"]) == ("one picture with its condition", "replace-one")
    assert (STATED["clip"], STATED["condition_clip"], STATED["releases"], STATED["delta"]) == (8.0, 4.0, 2, 1e-5)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seal_step": None}, "the picture is not noised"),
        ({"condition_step": None}, "the condition is not noised"),
        ({"clip": None}, "the picture has no clip"),
        ({"condition_clip": None}, "the condition has no clip"),
        ({"seal_step": None, "clip": None, "condition_clip": None}, "the picture is not noised; the condition has no clip"),
        ({}, "an earlier release of a picture had no bound, or noise from a seed"),
    ],
)
def test_none_says_why(changes, why):
    settings = replace(BOUNDED, **changes)
    assert privacy.statement(settings, None, releases=3, secure=True) == {"guarantee": "none", "why": why, "releases": 3}


def test_noise_from_a_seed_guarantees_nothing_however_large_the_step():
    found = privacy.statement(BOUNDED, 0.5, releases=1, secure=False)
    assert found["guarantee"] == "none" and "seed" in found["why"] and "epsilon" not in found


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("mu", [None, 1e-3, 0.5, 50.0])
def test_what_an_owner_states_is_accepted(mu, secure):
    privacy.check(privacy.statement(BOUNDED, mu, releases=1, secure=secure), BOUNDED, secure=secure)


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.01},
        {"epsilon": STATED["epsilon"] * (1 - 1e-5)},
        {"epsilon": float("nan")},
        {"epsilon": "0.01"},
        {"mu": -0.5},
        {"mu": 0.0, "epsilon": 0.0},
        {"mu": True},
        {"mu": float("inf")},
        {"delta": 0.0},
        {"delta": 1.0, "epsilon": 0.0},
        {"unit": "one\x1b[2J"},
        {"relation": "none"},
        {"clip": 1.0},
        {"condition_clip": None},
        {"releases": 0},
        {"releases": True},
        {"releases": 1.0},
        {"note": "safe"},
        {"guarantee": "none"},
        {"guarantee": "perfect"},
        {"guarantee": None},
    ],
)
def test_a_statement_that_does_not_follow_is_refused(changes):
    privacy.check(STATED, BOUNDED, secure=True)
    with pytest.raises(ValueError):
        privacy.check(STATED | changes, BOUNDED, secure=True)


@pytest.mark.parametrize("name", sorted(STATED))
def test_a_statement_that_leaves_something_out_is_refused(name):
    with pytest.raises(ValueError):
        privacy.check({k: v for k, v in STATED.items() if k != name}, BOUNDED, secure=True)


@pytest.mark.parametrize("name", ["seal_step", "condition_step", "clip", "condition_clip"])
def test_no_guarantee_without_noise_and_clip(name):
    with pytest.raises(ValueError, match="without"):
        privacy.check(STATED, replace(BOUNDED, **{name: None}), secure=True)


def test_no_guarantee_without_secure_noise():
    with pytest.raises(ValueError, match="secure noise"):
        privacy.check(STATED, BOUNDED, secure=False)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"guarantee": "none"},
        {"guarantee": "none", "releases": 1},
        {"guarantee": "none", "why": 1, "releases": 1},
        {"guarantee": "none", "why": "no clip", "releases": 1, "epsilon": 0.1},
    ],
)
def test_none_stands_alone(found):
    with pytest.raises(ValueError):
        privacy.check(found, BOUNDED, secure=True)


def test_an_epsilon_is_never_said_alone():
    line = privacy.describe(STATED)
    for part in (
        f"epsilon {STATED['epsilon']:.4g}",
        "delta 1e-05",
        privacy.UNIT,
        "replace-one",
        "clip 8",
        "condition clip 4",
        "releases: 2",
    ):
        assert part in line
    assert "vacuous" not in line
    assert "vacuous" in privacy.describe(privacy.statement(BOUNDED, 5.0, releases=1, secure=True))


def test_none_shows_no_number_and_no_control_characters():
    line = privacy.describe({"guarantee": "none", "why": "no clip\x1b[2J", "releases": 1})
    assert line.startswith("none (no clip\\x1b[2J)") and "epsilon" not in line
