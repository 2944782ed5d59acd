"""Types in plain words, and rows by danger."""

from sfumato.attacker import knowledge
from sfumato.attacker.attempt import NoChannel
from sfumato.judge.report import words


def test_whatever_an_attacker_may_be_given_has_plain_words():
    kinds = {kind.__name__ for kind in vars(knowledge).values() if isinstance(kind, type) and kind.__module__ == knowledge.__name__}
    assert kinds - {"ByRecord", "Scenario", "Undeclared"} <= set(words.KNOWLEDGE)


def test_no_type_is_left_in_what_is_said():
    said = words.plainly(NoChannel((knowledge.Conditions, knowledge.Noise)))
    assert said == "no sealed conditions, no noise" and words.plainly("diverged") == "diverged"


def cell(score, *, prior=0.2, effective=True):
    return {"score": score, "prior_only": prior, "chance": 0.1, "effective": effective}


def test_what_got_most_beyond_a_guess_comes_first():
    def one(**target):
        return {"outcome": "scored", "pools": {"records": {"targets": target}}}

    attacks = {
        "high": one(picture=cell(0.9, prior=0.85)),
        "far": one(picture=cell(0.7)),
        "vague": one(picture=cell(0.95, effective=False)),
        "other": one(person=cell(0.9)),
        "several": {**one(), "variants": {"best": one(picture=cell(0.8)), "none": {"outcome": "left out", "why": ""}}},
        "idle": {"outcome": "no channel", "why": "no Noise"},
        "broken": {"outcome": "failed", "why": "diverged"},
    }
    assert [name for name, _ in words.by_danger(attacks, "picture")] == ["several:best", "far", "high", "vague"]
    assert [name for name, _ in words.without_result(attacks)] == ["broken", "several:none", "idle"]
