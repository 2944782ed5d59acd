"""A gate passes, fails, or was not tested; what was not tested never passes."""

from pathlib import Path

import pytest

from sfumato.core.errors import UserError
from sfumato.judge import gates

LEFT = {"Latents": 1, "Conditions": 1}


def cell(score, *, low=None, high=None, n=200, prior=0.01, effective=False, error=None):
    beside = {} if error is None else {"latent error": error}
    low, high = score - 0.01 if low is None else low, score + 0.01 if high is None else high
    return {
        "score": score, "low": low, "high": high, "n": n, "prior_only": prior, "chance": 0.005, "effective": effective, "beside": beside,
        "difference": [score - prior, low - prior, high - prior],
    }  # fmt: skip


def scored(**targets):
    return {"outcome": "scored", "why": "", "pools": {"records": {"targets": targets}}}


def only(name, attacks, leaked=LEFT, **values):
    (found,) = gates.check({name: values}, attacks, leaked)
    return found


def test_the_defaults_can_be_read_and_ask_for_people():
    asked = gates.thresholds()
    assert set(asked) == {"attacks", "structure", "algebraic", "person", "picture", "condition"} and asked["person"]["times_prior"] == 3
    assert gates.place().endswith(gates.DEFAULTS) and gates.place(Path("mine.toml")) == "mine.toml"


@pytest.mark.parametrize(
    ("target", "value", "passed"),
    [
        ("picture", cell(0.79, prior=0.5, effective=True), False),  # a likeness that nobody calls sealed
        ("picture", cell(0.79, prior=0.5, n=6), False),  # of six pictures as well: much of little is enough
        ("picture", cell(0.55, prior=0.5), True),
        ("picture", cell(0.55, prior=0.5, n=6), None),
        ("picture", cell(0.62, low=0.5, high=0.75, prior=0.5), None),
        ("picture", cell(0.5, prior=1.0), None),  # where a guess is always right there is nothing to find
        ("condition", cell(0.925, prior=0.441), False),
        ("condition", cell(0.60, prior=0.49), True),
    ],
)
def test_by_default_pictures_and_conditions_must_not_come_back(target, value, passed):
    asked = gates.thresholds()
    (found,) = gates.check({target: asked[target]}, {"a": scored(**{target: value})}, LEFT)
    assert found.passed is passed and "None" not in found.asked + found.found


def test_every_limit_of_a_table_has_to_hold():
    cells = {"a": scored(picture=cell(0.55, prior=0.5))}
    assert only("picture", cells, beyond_prior=0.25, at_most=0.7).passed is True
    assert only("picture", cells, beyond_prior=0.25, at_most=0.4).passed is False
    assert only("picture", cells, beyond_prior=0.05, at_most=0.7).passed is False
    assert only("picture", cells).passed is None


@pytest.mark.parametrize("limits", [{"times_prior": 3.0}, {"at_most": 0.5}, {"beyond_prior": 0.25}])
def test_a_limit_that_was_not_tested_is_still_a_number(limits):
    found = only("person", {"a": scored(picture=cell(0.4))}, **limits)
    assert found.passed is None and "None" not in found.asked + found.found
    few = only("person", {"a": scored(person=cell(0.0, high=0.4, n=8))}, **limits)
    assert few.passed is None and "None" not in few.asked + few.found and "8" in few.found


@pytest.mark.parametrize(
    ("cells", "passed"),
    [
        ({"a": cell(0.012, high=0.025)}, True),
        ({"a": cell(0.012, high=0.025), "b": cell(0.3, low=0.25)}, False),
        ({"a": cell(0.02, low=0.005, high=0.06)}, None),  # the interval holds the bound: nobody knows
        ({"a": cell(0.0, high=0.4, n=8)}, None),  # too few to say that it is safe
        ({"a": cell(0.012, high=0.025), "b": cell(0.0, high=0.4, n=8)}, True),  # ... which takes nothing from what is known
        ({"a": cell(0.012, high=0.025), "b": cell(0.9, low=0.5, n=8, effective=True)}, False),  # ... and enough to say that it is not
        ({}, None),
    ],
)
def test_people_are_bounded_in_units_of_a_guess_without_records(cells, passed):
    found = only("person", {name: scored(person=value) for name, value in cells.items()}, times_prior=3.0)
    assert found.passed is passed


def test_the_best_variant_counts_and_is_named():
    variants = {"mean": scored(person=cell(0.01, high=0.02)), "best": scored(person=cell(0.5))}
    found = only("person", {"diffusion_prior": {**variants["best"], "variants": variants}}, times_prior=3.0)
    assert found.passed is False and "diffusion_prior:best" in found.found and "0.500" in found.found
    assert only("picture", {"a": scored(picture=cell(0.4))}, at_most=0.5).passed is True
    assert only("picture", {"a": scored(person=cell(0.4))}, at_most=0.5).passed is None


def test_nothing_but_what_may_leave_leaves_and_only_once():
    assert only("structure", {}, forbidden=["Noise"]).passed is True
    assert "Noise" in only("structure", {}, {**LEFT, "Noise": 1}, forbidden=["Noise"]).found
    twice = only("structure", {}, {"Latents": 2}, forbidden=["Noise"])
    assert twice.passed is False and "2 releases of Latents" in twice.found


def test_closed_form_must_not_come_closer_than_the_best_linear_estimate():
    linear = scored(picture=cell(0.5, error=0.6), condition=cell(0.5, error=0.3))
    noisy, solved = scored(picture=cell(0.2, error=2.2), condition=cell(0.5, error=0.5)), scored(picture=cell(0.9, error=1e-4))
    assert only("algebraic", {"algebraic": noisy, "linear_mmse": linear}).passed is True
    assert only("algebraic", {"algebraic": solved, "linear_mmse": linear}).passed is False
    assert only("algebraic", {"linear_mmse": linear}).passed is None
    nothing = {"outcome": "no channel", "why": "no Latents", "pools": {}}
    assert only("algebraic", {"algebraic": nothing}).passed is True


def test_closed_form_is_held_against_the_posterior_mean_as_well():
    linear, mean = scored(picture=cell(0.5, error=0.6)), scored(picture=cell(0.5, error=0.4))
    between = scored(picture=cell(0.5, error=0.5))
    assert only("algebraic", {"algebraic": between, "linear_mmse": linear}).passed is False
    prior = {**mean, "variants": {"mean": mean}}
    assert only("algebraic", {"algebraic": between, "linear_mmse": linear, "diffusion_prior": prior}).passed is True
    assert only("algebraic", {"algebraic": between, "diffusion_prior": prior}).passed is True


def test_attacks_that_were_not_run_and_records_that_were_not_read_are_no_pass():
    fine = {"algebraic": scored(picture=cell(0.2))}
    every = {"algebraic": ("picture",), "rmle": ("picture",)}
    (found,) = gates.check({"attacks": {}}, fine, LEFT, every=every)
    assert found.passed is None and found.found.endswith(": rmle")
    assert gates.check({"attacks": {}}, fine, LEFT, every={"algebraic": ("picture",)})[0].passed is True
    both = gates.check({"structure": {}}, fine, LEFT, unread=["shard 1: damaged"])
    assert [(gate.name, gate.passed) for gate in both] == [("structure", True), ("records", None)]


@pytest.mark.parametrize("outcome", ["failed", "not tested", "left out", None])
def test_a_gate_does_not_pass_while_an_attack_on_its_target_has_no_result(outcome):
    """It rests on those that are after its target; the others do not matter. It may fail by what did run."""
    fine, bad = {"a": scored(person=cell(0.012, high=0.025), picture=cell(0.2))}, {"a": scored(person=cell(0.4), picture=cell(0.2))}
    open_ = {} if outcome is None else {"eye": {"outcome": outcome, "why": "", "pools": {}}}
    every = {"a": ("person", "picture"), "eye": ("person",)}
    asked = {"person": {"times_prior": 3.0}, "picture": {"at_most": 0.5}, "structure": {}, "attacks": {}}
    passed = {gate.name: gate.passed for gate in gates.check(asked, {**fine, **open_}, LEFT, every=every)}
    assert passed == {"person": None, "picture": True, "structure": True, "attacks": None}
    failed = {gate.name: gate.passed for gate in gates.check(asked, {**bad, **open_}, LEFT, every=every)}
    assert failed["person"] is False and failed["attacks"] is None
    nothing = {"eye": {"outcome": "no channel", "why": "no Latents", "pools": {}}}
    assert all(gate.passed for gate in gates.check(asked, {**fine, **nothing}, LEFT, every=every))


def test_a_variant_without_a_result_holds_a_gate_open_too():
    variants = {"mean": scored(person=cell(0.012, high=0.025)), "best": {"outcome": "left out", "why": "", "pools": {}}}
    attacks = {"diffusion_prior": {**variants["mean"], "variants": variants}}
    (found,) = gates.check({"person": {"times_prior": 3.0}}, attacks, LEFT, every={"diffusion_prior": ("picture", "person")})
    assert found.passed is None and "diffusion_prior:best" in found.found


def test_closed_form_is_compared_only_where_both_sides_ran():
    solved = {"algebraic": scored(picture=cell(0.2, error=2.0)), "linear_mmse": {"outcome": "left out", "why": "", "pools": {}}}
    prior = {"diffusion_prior": {"variants": {"mean": scored(picture=cell(0.5, error=0.4))}, **scored(picture=cell(0.5, error=0.4))}}
    every = dict.fromkeys(("algebraic", "linear_mmse", "diffusion_prior"), ("picture",))
    assert gates.check({"algebraic": {}}, {**solved, **prior}, LEFT, every=every)[0].passed is None


def test_a_bound_that_no_number_of_people_here_can_show_is_named():
    nobody = {**cell(0.0, low=0.0, high=0.019), "people": 200}
    found = only("person", {"a": scored(person={**nobody, "prior_only": 0.0})}, times_prior=3.0)
    assert found.passed is None and "200 people cannot show that" in found.asked
    assert "cannot show" not in only("person", {"a": scored(person={**nobody, "prior_only": 0.02})}, times_prior=3.0).asked
    full = {**cell(1.0, low=0.9, high=1.0), "people": 2, "prior_only": 0.5}
    assert only("person", {"a": scored(person=full)}, times_prior=3.0).passed is not True  # three times a half is no bound


def test_an_attack_that_came_to_nothing_is_not_a_pass():
    failed = {"outcome": "failed", "why": "diverged", "pools": {}}
    fine = scored(picture=cell(0.2))
    assert only("attacks", {"a": fine}).passed is True
    found = only("attacks", {"a": fine, "rmle": failed})
    assert found.passed is None and "rmle (diverged)" in found.found
    assert only("attacks", {}).passed is None


def test_exit_codes():
    def of(*passed):
        return gates.exit_code([gates.Gate("x", one, "", "") for one in passed])

    assert (of(True, True), of(True, None), of(None, False), of()) == (0, 2, 1, 2)
    silent = gates.Gate("person", None, "", "", unasked=True)
    passed, failed, open_ = (gates.Gate("x", one, "", "") for one in (True, False, None))
    found = [gates.exit_code(some) for some in ([silent, passed], [silent, failed], [silent, open_], [silent])]
    assert found == [0, 1, 2, 2]  # where nothing could be asked, nothing passed


def test_what_a_folder_does_not_tell_is_not_asked_and_holds_no_gate_open():
    fine = {"a": scored(picture=cell(0.2)), "eye": {"outcome": gates.NOT_ASKED, "why": "nobody is named", "pools": {}}}
    every = {"a": ("picture", "person"), "eye": ("person",), "ear": ("person", "prompt")}
    asked = {"attacks": {}, "person": {"times_prior": 3.0}, "picture": {"at_most": 0.5}}
    silent = {"person": "nobody is named", "prompt": "no captions"}
    found = {gate.name: gate for gate in gates.check(asked, fine, LEFT, every=every, unasked=silent)}
    assert {name: (gate.passed, gate.unasked) for name, gate in found.items()} == {
        "attacks": (True, False), "person": (None, True), "picture": (True, False),
    }  # fmt: skip
    assert "nobody is named" in found["person"].found
    # An attack that is after something else as well is waited for; and what is told of must be asked.
    both = gates.check(asked, fine, LEFT, every={**every, "nose": ("person", "picture")}, unasked=silent)
    assert [gate.passed for gate in both] == [None, None, None]
    told = gates.check(asked, fine, LEFT, every=every, unasked={"prompt": "no captions"})
    assert [(gate.passed, gate.unasked) for gate in told] == [(None, False), (None, False), (True, False)]


@pytest.mark.parametrize(
    "text", ["[persons]\n", "[person]\ntimes = 3\n", "[person]\nat_most = -1\n", "[person]\nat_most = true\n", "person = 3\n", "[["]
)
def test_a_file_that_means_nothing_is_refused(tmp_path, text):
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="gates.toml"):
        gates.thresholds(path)
    with pytest.raises(UserError, match="missing.toml"):
        gates.thresholds(tmp_path / "missing.toml")
