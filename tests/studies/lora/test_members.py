"""Membership is told with an interval, is open where it cannot be told, and is found where it is there."""

import numpy as np
import pytest
import torch
from scipy import stats

from adapters_support import adapter_of
from sfumato.attacker.attempt import Failed
from sfumato.attacker.weights.base import Candidates, Guess
from sfumato.attacker.weights.membership import STATISTICS
from sfumato.studies.lora import members
from sfumato.studies.lora.question import Owned, Question

ASKED = Question(path="a.safetensors", knew="the file", fix="sfumato finetune x")


def owned(count, seed=0):
    images = np.random.default_rng(seed).integers(0, 255, (count, 32, 32, 3), np.uint8)
    return Owned(images=images, people=("",) * count)


@pytest.fixture
def told(base, monkeypatch):
    """What comes of scores that are made up: by variant, of members and others."""

    def run(scores, n, m):
        asked = []

        def attempt(row, known, **how):
            asked.append(len(known[Candidates].z_0))
            found = scores(row.partition(":")[2])
            return found if isinstance(found, Failed) else Guess(scores=torch.tensor(found))

        monkeypatch.setattr(members.attacks, "attempt", attempt)
        return members.of(ASKED, base, adapter_of(base), "a photo", owned(n), owned(m, 1), effort="quick", seed=0), asked

    return run


def test_members_that_stand_apart_are_a_finding(told):
    seen, asked = told(lambda name: np.arange(16.0)[::-1].copy(), 8, 8)
    assert asked == [16] * len(STATISTICS) and len(seen.measured) == len(STATISTICS)
    for figure in seen.measured:
        assert figure.value == 1 and 0.6 < figure.low < 1 == figure.high and figure.chance == 0.5 and figure.n == 16
        assert figure.knew.startswith("the file") and "told apart" in figure.said
    (found,) = seen.findings
    assert found.rule == "trained-on" and found.level == "high" and not found.certain and found.fix == "sfumato finetune x"
    assert not any(open_.asked for open_ in seen.untested) and "whether a given picture was trained on" in seen.answered


def test_scores_that_say_nothing_are_no_finding_whichever_of_them_is_best(told):
    draws = np.random.default_rng(3)
    seen, _ = told(lambda name: draws.random(40), 20, 20)
    assert seen.findings == () and all(figure.low < 0.5 < figure.high for figure in seen.measured)


def test_what_comes_to_nothing_takes_nothing_from_the_others(told):
    seen, _ = told(
        lambda name: Failed("it diverged") if name == "pia" else np.full(16, np.nan) if name == "loss" else np.arange(16.0), 8, 8
    )
    assert len(seen.measured) == len(STATISTICS) - 2
    assert {open_.what.split(",")[0] for open_ in seen.untested if open_.asked} == {"membership by pia", "membership by loss"}


def test_too_few_pictures_are_not_resolvable_and_none_are_asked_for(told, base):
    seen, asked = told(lambda name: np.arange(6.0), 3, 3)
    assert asked == [] and seen.findings == seen.measured == () and "not resolvable" in seen.untested[0].why and seen.untested[0].asked
    seen = members.of(ASKED, base, adapter_of(base), "a photo", owned(9), None, effort="quick", seed=0)
    assert seen.untested[0].asked and "--holdout" in seen.untested[0].how


@pytest.mark.parametrize(("n", "m", "can"), [(3, 3, False), (4, 4, False), (5, 5, True), (1, 200, True), (1, 100, False)])
def test_resolvable_is_whether_a_perfect_order_would_pass(n, m, can):
    p = stats.mannwhitneyu(np.arange(n) + m, np.arange(m), alternative="greater", method="exact").pvalue
    assert members.resolvable(n, m) is can is bool(p * len(STATISTICS) < members.LEVEL)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draws, held = np.random.default_rng(0), 0
    for _ in range(300):
        inside, outside = draws.normal(1, 1, 12), draws.normal(0, 1, 12)
        _, low, high = members.interval(inside, outside)
        held += low <= stats.norm.cdf(1 / np.sqrt(2)) <= high
    assert held >= 0.92 * 300
    value, low, high = members.interval(np.ones(3), np.zeros(3))
    assert value == high == 1 and low < 0.6
