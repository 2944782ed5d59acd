"""The best attack on ballots stays below what they claim, and comes close: it is no weak attack that passes."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.accounting import gaussian, votes
from sfumato.attacker import vote_inference
from sfumato.core.errors import UserError
from sfumato.core.randomness import InsecureNoise
from sfumato.records.ballot import Ballot, clamped
from sfumato.records.manifest import public_hex
from vote_support import menu_of, picture

KEY = public_hex(Ed25519PrivateKey.generate())
ROUNDS, TRIALS = 2, 1500


@pytest.fixture(scope="module")
def menu(base):
    return menu_of(base)


def ballot(counts, noise, epsilon):
    """A ballot of these exact counts, in whole units of a vote's."""
    noisy = votes.noised(counts, votes.sigma(epsilon, 1e-5, ROUNDS), noise)
    return Ballot(
        owner="a", public_key=KEY, menu="0" * 64, unit="person", epsilon=epsilon, delta=1e-5, rounds=ROUNDS, secure=False,
        counts=clamped(noisy),
    )  # fmt: skip


@pytest.fixture(scope="module")
def scores(menu, base):
    """Log ratios of one person in ballots without them and with them, and mu."""
    epsilon, noise = 3.0, InsecureNoise(0)
    images = np.stack([picture(0, 1), picture(0, 2), picture(2, 3)])
    mine = vote_inference.votes_of(vote_inference.embed(images, menu, base), menu)
    person = np.tile(mine, (ROUNDS, 1))
    others = np.array([[9, 4, 0, 2], [3, 3, 3, 3]])
    exact = [[int(one) << votes.ONE_BITS for one in row] for row in others]
    units = votes.scaled([2, 0, 1, 0])
    found = {}
    for inside in (False, True):
        rows = [[one + inside * unit for one, unit in zip(row, units, strict=True)] for row in exact]
        found[inside] = np.array([
            vote_inference.log_ratio([ballot(row, noise, epsilon) for row in rows], person, others.astype(float)) for _ in range(TRIALS)
        ])  # fmt: skip
    return found[False], found[True], gaussian.target_mu(epsilon, 1e-5)


def test_a_persons_votes_are_those_that_an_owner_would_cast(menu, base):
    images = np.stack([picture(0, 1), picture(0, 2), picture(2, 3)])
    mine = vote_inference.votes_of(vote_inference.embed(images, menu, base), menu)
    assert mine == pytest.approx(np.array([2, 0, 1, 0]) / 5**0.5, abs=1e-8) and np.linalg.norm(mine) <= 1


def test_the_advantage_is_at_the_bound_and_not_above(scores):
    out, inside, mu = scores
    advantage = (inside > 0).mean() - (out > 0).mean()
    assert advantage == pytest.approx(gaussian.delta(0.0, mu), abs=4 * (0.5 / TRIALS) ** 0.5)  # 2 Phi(mu / 2) - 1


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.02])
def test_at_a_low_rate_of_false_alarms_no_more_are_found_than_the_bound_allows(scores, rate):
    out, inside, mu = scores
    found = (inside > np.quantile(out, 1 - rate)).mean()
    assert found <= gaussian.identification(1 / rate, mu) + 5 * (0.25 / TRIALS) ** 0.5


def test_the_ratio_is_that_of_two_gaussians(scores):
    out, inside, mu = scores
    assert out.mean() == pytest.approx(-(mu**2) / 2, abs=0.15) and inside.mean() == pytest.approx(mu**2 / 2, abs=0.15)
    assert out.std() == pytest.approx(mu, rel=0.1)


def test_votes_of_another_shape_are_refused():
    one = ballot([0, 0, 0, 0], InsecureNoise(0), 3.0)
    with pytest.raises(UserError, match="shapes"):
        vote_inference.log_ratio([one], np.zeros((1, 3)), np.zeros((1, 4)))
