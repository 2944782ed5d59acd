from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from sfumato.core.errors import UserError
from sfumato.judge.metrics.significance import Comparison, compare, holm, verdict


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _case(**changes: float) -> Comparison:
    same = Comparison(0.3, 0.25, 0.35, 0.1, 0.2, 0.15, 0.25, 0.0001, 1000, 200)
    return replace(same, **changes)


# ---------------------------------------------------------------- compare


def test_a_clear_attack_is_found() -> None:
    draw = _rng(1)
    attack, baseline = draw.random(400) < 0.4, draw.random(400) < 0.1
    before = attack.copy()
    found = compare(attack, baseline, generator=_rng())
    assert found.mean == attack.mean() and found.baseline == baseline.mean()
    assert found.difference == pytest.approx(attack.mean() - baseline.mean()) and found.n == found.clusters == 400
    assert found.low < found.mean < found.high and 0.2 < found.difference_low < found.difference < found.difference_high < 0.4
    assert found.p == pytest.approx(1 / 20001) and np.array_equal(attack, before)


def test_a_worse_attack_has_a_large_p() -> None:
    draw = _rng(2)
    assert compare(draw.normal(0, 1, 200), draw.normal(1, 1, 200), generator=_rng()).p > 0.999


def test_equal_scores_are_no_evidence_and_p_is_never_zero() -> None:
    scores = _rng(3).random(50)
    found = compare(scores, scores, generator=_rng())
    assert found.p == 1 and found.difference == found.difference_low == found.difference_high == 0
    assert compare(scores + 5, scores, generator=_rng(), flips=99).p == pytest.approx(0.01)


def test_p_against_all_permutations() -> None:
    attack, baseline = _rng(4).normal(0.6, 1, 9), np.zeros(9)
    exact = np.mean([np.dot(signs, attack) >= attack.sum() - 1e-9 for signs in product((-1, 1), repeat=9)])
    assert compare(attack, baseline, generator=_rng(), flips=40000).p == pytest.approx(exact, abs=0.01)


def test_p_of_hits_is_the_sign_tests() -> None:
    attack, baseline = np.repeat([1, 0, 1, 0], [14, 5, 30, 40]), np.repeat([0, 1, 1, 0], [14, 5, 30, 40])
    wanted = stats.binomtest(14, 19, alternative="greater").pvalue
    assert compare(attack, baseline, generator=_rng(), flips=40000).p == pytest.approx(wanted, abs=0.004)


@pytest.mark.parametrize("kind", ["numbers", "hits", "people"])
def test_p_is_uniform_or_larger_without_an_effect(kind: str) -> None:
    draw, found = _rng(5), []
    for _ in range(300):
        shared = np.repeat(draw.standard_normal((2, 20)), 5, axis=1) * (3 if kind == "people" else 0)
        scores = shared + draw.standard_normal((2, 100))
        if kind == "hits":
            scores = scores > 1
        found.append(compare(*scores, generator=draw, clusters=np.repeat(np.arange(20), 5), resamples=20, flips=199).p)
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) < level + 3 * np.sqrt(level * (1 - level) / 300)
    if kind != "hits":
        assert stats.kstest(found, "uniform").pvalue > 0.001


def test_pictures_of_a_person_count_as_one_person() -> None:
    draw = _rng(6)
    attack, baseline = draw.normal(0.4, 1, 30), draw.normal(0, 1, 30)
    people = np.repeat(np.arange(30), 10)
    once = compare(attack, baseline, generator=_rng())
    grouped = compare(np.repeat(attack, 10), np.repeat(baseline, 10), generator=_rng(), clusters=[f"p{i}" for i in people])
    naive = compare(np.repeat(attack, 10), np.repeat(baseline, 10), generator=_rng())
    assert grouped.clusters == 30 and grouped.n == 300 and grouped.p == pytest.approx(once.p, abs=0.005)
    assert (grouped.difference_low, grouped.difference_high) == pytest.approx((once.difference_low, once.difference_high), abs=0.02)
    assert naive.difference_high - naive.difference_low < (grouped.difference_high - grouped.difference_low) / 2


@pytest.mark.parametrize("each", [1, 6])
@pytest.mark.parametrize("hits", [True, False])
def test_the_intervals_cover(each: int, hits: bool) -> None:
    draw, covered = _rng(7), []
    for _ in range(200):
        ability = np.repeat(draw.beta(1, 3, 40), each)
        attack, baseline = draw.random((2, 40 * each)) < np.stack([ability, np.full(40 * each, 0.1)])
        scores = (attack, baseline) if hits else (attack + 0.5 * draw.random(40 * each), baseline + 0.5 * draw.random(40 * each))
        found = compare(*scores, generator=draw, clusters=np.repeat(np.arange(40), each), resamples=200, flips=1)
        shift = 0 if hits else 0.25
        covered.append((found.low <= 0.25 + shift <= found.high, found.difference_low <= 0.15 <= found.difference_high))
    assert (np.mean(covered, axis=0) > 0.90).all()


@pytest.mark.parametrize("n", [2, 4, 8])
def test_few_pictures_never_look_certain(n: int) -> None:
    nothing = compare(np.zeros(n, bool), np.zeros(n, bool), generator=_rng())
    assert nothing.p == 1 and nothing.difference_high > 0.2 and nothing.high > 0.2
    assert verdict(nothing, 1.0, width=0.1) == "inconclusive"
    numbers = compare(_rng(8).normal(20, 1, n), _rng(9).normal(20, 1, n), generator=_rng())
    spread = stats.t.ppf(0.975, n - 1) * np.std(_rng(8).normal(20, 1, n), ddof=1) / np.sqrt(n)
    assert numbers.high - numbers.mean >= spread - 1e-9


def test_a_thousand_misses_are_a_finding() -> None:
    nothing = compare(np.zeros(1000, bool), np.zeros(1000, bool), generator=_rng(), clusters=np.repeat(np.arange(200), 5))
    assert 0 < nothing.difference_high < 0.02 and verdict(nothing, 1.0, width=0.1) == "not effective"


def test_the_same_generator_gives_the_same_figures() -> None:
    scores = _rng(10).random((2, 40))
    assert compare(*scores, generator=_rng(3)) == compare(*scores, generator=_rng(3))
    assert compare(*scores, generator=_rng(3)) != compare(*scores, generator=_rng(4))


def test_bad_scores_are_refused() -> None:
    ones = np.ones(4)
    for attack, baseline in ((ones, ones[:3]), (ones.reshape(2, 2), ones.reshape(2, 2))):
        with pytest.raises(UserError, match="the same pictures' scores"):
            compare(attack, baseline, generator=_rng())
    with pytest.raises(UserError, match="people for 3"):
        compare(ones, ones, generator=_rng(), clusters=["a", "b", "c"])
    with pytest.raises(UserError, match="1 people"):
        compare(ones, ones, generator=_rng(), clusters=["a"] * 4)
    with pytest.raises(UserError, match="not finite"):
        compare(np.array([1.0, np.nan]), np.ones(2), generator=_rng())


# ---------------------------------------------------------------- holm


def test_holm_by_hand() -> None:
    # sorted: .005 x 4, .01 x 3, .03 x 2, .04 x 1 = .02, .03, .06, .04 -> .06
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def test_holm_keeps_names_order_and_range() -> None:
    adjusted = holm({"x": 0.9, "y": 0.6, "z": 0.0})
    assert list(adjusted) == ["x", "y", "z"] and adjusted == {"x": 1.0, "y": 1.0, "z": 0.0}
    assert holm({"only": 0.04}) == {"only": 0.04} and holm({}) == {}


def test_holm_lies_between_the_raw_and_bonferronis() -> None:
    raw = {str(i): p for i, p in enumerate(_rng(11).random(30) ** 3)}
    adjusted = holm(raw)
    assert all(raw[k] <= adjusted[k] <= min(1, 30 * raw[k]) for k in raw)
    order = sorted(raw, key=raw.__getitem__)
    assert [adjusted[k] for k in order] == sorted(adjusted.values())


def test_holm_keeps_the_rate_of_false_findings() -> None:
    draw = _rng(12)
    found = [min(holm({str(i): p for i, p in enumerate(draw.random(20))}).values()) < 0.05 for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(UserError, match="'b'"):
        holm({"a": 0.5, "b": p})


# ---------------------------------------------------------------- verdict


@pytest.mark.parametrize(
    ("changes", "adjusted", "wanted"),
    [
        ({}, 0.001, "effective"),
        ({"difference_high": 0.9}, 0.001, "effective"),  # how much is open, that there is something is not
        ({"difference_low": -0.05, "difference_high": 0.04}, 0.3, "not effective"),
        ({"difference_low": -0.3, "difference_high": 0.4}, 0.3, "inconclusive"),
        ({}, 0.06, "inconclusive"),  # above the baseline by its own interval, but not after correction
        ({"difference_low": -0.01, "difference_high": 0.1}, 0.04, "inconclusive"),  # test and interval disagree
    ],
)
def test_verdicts(changes: dict[str, float], adjusted: float, wanted: str) -> None:
    assert verdict(_case(**changes), adjusted, width=0.2) == wanted


def test_a_verdict_takes_the_level_into_account() -> None:
    assert verdict(_case(), 0.03, width=0.2) == "effective" and verdict(_case(), 0.03, width=0.2, level=0.01) == "inconclusive"


def test_verdict_refuses_a_p_that_was_not_adjusted_upwards() -> None:
    with pytest.raises(UserError, match="adjusted p"):
        verdict(_case(p=0.5), 0.4, width=0.1)
    with pytest.raises(UserError, match="width"):
        verdict(_case(), 0.4, width=0)
