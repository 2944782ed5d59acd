"""What an owner is told first: never more than was tested, and what to run next."""

import pytest

from sfumato.judge import gates, verdict
from sfumato.judge.gates import Gate
from sfumato.records.record import SealSettings

DERIVED = SealSettings(condition="canny", seal_step=800, condition_step=None, derived=True)
LEAVING = SealSettings(condition="canny", seal_step=600, condition_step=200)
SCORED = {"outcome": "scored", "why": "", "pools": {}}


def told(passed, *, attacks=None, settings=DERIVED, asked=None, effort="quick", every=("a",), **more):
    checked = [Gate(name, one, "", "") for name, one in passed.items()]
    return verdict.of(
        checked, {"a": SCORED} if attacks is None else attacks, settings, asked=gates.thresholds() if asked is None else asked,
        effort=effort, every=every, **more,
    )  # fmt: skip


def test_what_passed_is_named_and_nothing_else_is_claimed():
    found = told({"attacks": True, "picture": True})
    assert found.state == "passed" and "attacks, picture" in found.headline and "no guarantee" in found.headline and not found.notes
    assert "very" not in found.headline  # neither every gate nor every way


@pytest.mark.parametrize("outcome", ["failed", "left out", "no channel", "not tested"])
def test_attacks_without_a_result_stand_beside_every_verdict(outcome):
    attacks = {"a": SCORED, "eye": {"outcome": outcome, "why": "", "pools": {}}}
    for passed in (True, None, False):
        found = told({"picture": passed}, attacks=attacks, every=("a", "eye"))
        assert any("eye" in note for note in found.notes)


@pytest.mark.parametrize("passed", [True, False, None])
def test_a_gate_that_could_not_be_asked_is_named_and_neither_passed_nor_in_the_way(passed):
    checked = [Gate("picture", passed, "", ""), Gate("person", None, "", "", unasked=True)]
    found = verdict.of(
        checked, {"a": SCORED}, DERIVED, asked=gates.thresholds(), effort="quick", every=("a",), unasked=["nobody was asked for"]
    )
    assert found.state == {True: "passed", False: "failed", None: "open"}[passed] and "nobody was asked for" in found.notes
    if passed:
        assert "person" in found.headline.partition(".")[2] and "person" not in found.headline.partition(".")[0]
    else:
        assert "person" not in found.headline
    alone = verdict.of(checked[1:], {}, DERIVED, asked=gates.thresholds(), effort="quick", every=())
    assert alone.state == "open" and "person could not be asked" in alone.headline


def test_gates_and_attacks_that_were_not_asked_for_are_named():
    found = told({"structure": True}, asked={"structure": {}}, every=("a", "rmle"))
    assert found.state == "passed" and any("rmle" in note for note in found.notes)
    (unasked,) = [note for note in found.notes if "gates" in note]
    assert all(name in unasked for name in gates.thresholds() if name != "structure")


def test_a_failed_gate_outweighs_an_open_one_and_no_gate_at_all_is_no_pass():
    assert told({"picture": None, "person": False}).state == "failed"
    assert told({"picture": None, "person": True}).state == "open" and told({}).state == "open"


@pytest.mark.parametrize(
    ("settings", "failed", "step"),
    [
        (DERIVED, "picture", "--seal-step 900"),
        (LEAVING, "picture", "--condition-step 200"),
        (SealSettings(condition="given", seal_step=600, condition_step=200), "condition", "--condition given --condition-step 800"),
        (SealSettings(condition="canny", seal_step=None, condition_step=None), "picture", "--condition-step none"),
    ],
)
def test_what_came_back_is_sealed_again_at_a_higher_step_and_attacked_again(settings, failed, step):
    withdraw, seal, attack = told({failed: False}, settings=settings).commands
    assert withdraw == "sfumato withdraw RECORDS" and attack.startswith("sfumato attack RECORDS-")
    assert seal.startswith("sfumato seal PICTURES --trial") and step in seal
    assert told({failed: False}, settings=settings, standing="trial").commands == (seal, attack)  # a trial never was a release


@pytest.mark.parametrize("standing", ["trial", "withdrawn"])
def test_what_must_not_leave_is_sealed_anew_when_it_passed(standing):
    clipped = SealSettings(condition="canny", seal_step=800, condition_step=None, derived=True, clip=30.0, bits=8)
    found = told({"picture": True}, standing=standing, settings=clipped)
    assert found.state == "passed" and any("must not leave" in note for note in found.notes)
    (seal,) = found.commands
    assert "--trial" not in seal and "--seal-step 800" in seal and "--clip 30 --bits 8" in seal and "--condition-step" not in seal


def test_what_is_sealed_again_is_cut_as_it_was():
    for passed, standing in ((False, "release"), (True, "trial")):
        found = told({"picture": passed}, standing=standing, crop="pad")
        assert [("--crop pad" in command) for command in found.commands] == [" seal " in command for command in found.commands]
        assert not any("--crop" in command for command in told({"picture": passed}, standing=standing).commands)


def test_every_command_that_is_named_can_be_run():
    from sfumato.cli import _help
    from sfumato.cli.main import app

    commands = {" ".join(path): command for path, command in _help.walk(_help.built(app))}
    told_of = [told({"picture": passed}, settings=settings, standing=standing, effort="glance", every=("a", "b"), crop="pad").commands
               for passed in (True, None, False) for settings in (DERIVED, LEAVING) for standing in ("release", "trial")]  # fmt: skip
    for line in {command for commands_of in told_of for command in commands_of}:
        _, name, *words = line.split()
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_conditions_that_came_back_need_not_leave():
    _, seal, _ = told({"condition": False}, settings=LEAVING).commands
    assert "--condition-step" not in seal and "--seal-step" in seal


def test_where_no_higher_step_is_left_none_is_named():
    last = SealSettings(condition="canny", seal_step=998, condition_step=None, derived=True)
    found = told({"person": False}, settings=last)
    assert found.commands == ("sfumato withdraw RECORDS",) and any("no higher step" in note for note in found.notes)


def test_what_is_open_names_what_may_settle_it():
    assert "--effort quick" in told({"attacks": None}, effort="glance").commands[0]
    assert "--public FOLDER" in told({"public": None}).commands[0]
    assert told({"attacks": None}, every=("a", "b")).commands and not told({"person": None}).commands


def test_a_comparison_names_who_follows_best_unless_nothing_could_be_learned():
    tables = {"own": {name: {"adherence": {"mean": mean}} for name, mean in (("no_control", 0.1), ("sealed", 0.8), ("public", 0.5))}}
    found = verdict.of_comparison(tables)
    assert found.state == "open" and "sealed" in found.headline
    assert found.notes[0].index("sealed") < found.notes[0].index("public") < found.notes[0].index("no control")
    few = verdict.of_comparison(tables, "nothing is learned in 80 steps")
    assert "80 steps" in few.headline and "sealed" not in few.headline and few.state == "open"


def test_a_gate_that_stays_open_says_what_was_asked_and_found_and_that_people_may_be_too_few():
    for name in ("person", "picture"):
        gate = Gate(name, None, "less than so much", "that much", False)
        found = verdict.of([gate], {"a": SCORED}, DERIVED, asked=gates.thresholds(), effort="quick", every=("a",))
        first = next(note for note in found.notes if note.startswith(f"{name}: "))
        assert gate.asked in first and gate.found in first and any("--gates" in note for note in found.notes) == (name == "person")
