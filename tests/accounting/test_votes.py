"""The noise of votes: as much as the accountant says, on a grid, and no person's votes count for more than 1."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists

from sfumato.accounting import gaussian, votes
from sfumato.core.randomness import InsecureNoise, SecureNoise

ONE = 2**votes.ONE_BITS


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 8.0])
@pytest.mark.parametrize("rounds", [1, 3, 10])
def test_the_rounds_together_spend_the_epsilon_and_no_more(epsilon, rounds):
    mu = math.sqrt(rounds) / votes.sigma(epsilon, 1e-5, rounds)
    assert gaussian.epsilon(1e-5, mu) == pytest.approx(epsilon, rel=1e-9)


def test_noise_of_one_round_of_epsilon_one():
    assert votes.sigma(1.0, 1e-5, 1) == pytest.approx(3.73, abs=0.01)  # what others' accountants give for sensitivity 1


@given(lists(integers(0, 10**6), min_size=1, max_size=20).filter(any))
def test_a_persons_votes_have_norm_one_at_most_exactly(counts):
    scaled = votes.scaled(counts)
    squares = sum(one * one for one in scaled)
    assert squares <= ONE**2
    assert squares >= (ONE - len(counts)) ** 2 * 0.999999 - ONE * len(counts)  # and are not less than rounding makes them
    for count, one in zip(counts, scaled, strict=True):
        assert one / ONE == pytest.approx(count / math.hypot(*counts), abs=2 / ONE)


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2]])
def test_nothing_or_less_is_no_vote(counts):
    with pytest.raises(ValueError, match="votes"):
        votes.scaled(counts)


@given(a=lists(integers(0, 50), min_size=5, max_size=5).filter(any), others=lists(integers(0, 10**12), min_size=5, max_size=5))
def test_a_person_moves_the_sum_by_one_at_most(a, others):
    """The measured sensitivity is the one that the noise is for."""
    with_them = [one + other for one, other in zip(votes.scaled(a), others, strict=True)]
    assert math.sqrt(sum((x - y) ** 2 for x, y in zip(with_them, others, strict=True))) <= ONE


def test_the_noise_has_the_variance_that_is_declared_and_lies_on_the_grid():
    sums = [7 * ONE] * 4000
    noisy = np.array(votes.noised(sums, 3.0, InsecureNoise(0))) / 2**votes.GRID_BITS
    assert noisy.mean() == pytest.approx(7, abs=0.2) and noisy.std() == pytest.approx(3.0, rel=0.05)
    assert all(isinstance(one, int) for one in votes.noised(sums[:3], 3.0, SecureNoise()))


def test_rounding_comes_after_the_noise():
    """With the same draw, what differs by whole steps of the grid differs by as many: the last bits say nothing of the sum."""
    step = 2 ** (votes.ONE_BITS - votes.GRID_BITS)
    first = votes.noised([0] * 200, 3.3, InsecureNoise(1))
    for shift in (1, 5, 12345678):
        assert votes.noised([shift * step] * 200, 3.3, InsecureNoise(1)) == [one + shift for one in first]
    below = votes.noised([step // 3] * 2000, 3.3, InsecureNoise(2))  # a third of a step shows in the mean alone
    assert 0.2 < np.mean(np.subtract(below, votes.noised([0] * 2000, 3.3, InsecureNoise(2)))) < 0.47


def test_the_secure_source_is_never_the_same_twice():
    assert votes.noised([0] * 8, 3.0, SecureNoise()) != votes.noised([0] * 8, 3.0, SecureNoise())


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.0, 1), (-1.0, 1), (math.inf, 1), (math.nan, 1), (1.0, 0), (1.0, 1001), (1.0, True)])
def test_no_such_plan(epsilon, rounds):
    with pytest.raises(ValueError, match="epsilon|rounds"):
        votes.sigma(epsilon, 1e-5, rounds)


def test_what_votes_can_carry_and_what_it_would_take():
    noise = votes.sigma(1.0, 1e-5, 1)
    assert votes.carried(160, noise) == 21 and votes.carried(7, noise) == 0 and votes.carried(7, noise, owners=4) == 1
    enough = votes.needed(24, 160, 1e-5, 1)
    assert enough > 1 and votes.carried(160, votes.sigma(enough * 1.0001, 1e-5, 1)) == 24
    assert votes.carried(160, votes.sigma(enough * 0.99, 1e-5, 1)) == 23
