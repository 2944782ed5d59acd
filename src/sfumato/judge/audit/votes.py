"""Try to refute what ballots claim: cast them with one more person and without, and tell the two apart.

The person votes for one cluster, which is the worst case: then a count is all that there is to see. As
in ``mechanism``, error rates at their upper confidence limits bound mu from below; a bound above the
claim refutes it, and one below proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from sfumato.accounting import accountant, gaussian, votes
from sfumato.core.randomness import InsecureNoise, Noise
from sfumato.judge.audit.mechanism import upper_limit

Noiser = Callable[[list[int], float, Noise], list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteAudit:
    """What ballots claim and what was measured, add-or-remove of a person: mu, and epsilon at ``delta``."""

    claimed_mu: float
    claimed_epsilon: float
    measured_mu: float
    measured_epsilon: float
    delta: float
    draws: int
    confidence: float

    @property
    def refuted(self) -> bool:
        """Whether more leaves than is claimed."""
        return self.measured_mu > self.claimed_mu


def audit(
    epsilon: float, rounds: int, *, insecure_seed: int, noiser: Noiser = votes.noised, draws: int = 20_000, confidence: float = 0.999,
    delta: float = accountant.DELTA, others: int = 40,
) -> VoteAudit:  # fmt: skip
    """Bound from below what ``rounds`` ballots leak of one person, against ``epsilon`` for all of them.

    Args:
        epsilon, rounds, delta: what is claimed.
        insecure_seed: of the audit's own draws; nothing private is drawn.
        noiser: what makes noisy counts from exact ones; by default that of a vote.
        draws: of each of the two worlds.
        confidence: that the bound holds.
        others: votes of other people for the same cluster.
    """
    noise, sigma = InsecureNoise(insecure_seed), votes.sigma(epsilon, delta, rounds)
    one = votes.scaled([3, 0])[0]  # of somebody with three pictures

    def seen(sums: int) -> np.ndarray:
        return np.sum([noiser([sums] * draws, sigma, noise) for _ in range(rounds)], axis=0) / 2**votes.GRID_BITS

    middle = rounds * (others + 0.5)
    crowd = others * 2**votes.ONE_BITS
    wrong = [int((seen(crowd) > middle).sum()), int((seen(crowd + one) <= middle).sum())]
    limits = [upper_limit(errors, draws, confidence=1 - (1 - confidence) / 2) for errors in wrong]
    low = max(0.0, float(-ndtri(limits[0]) - ndtri(limits[1])))
    return VoteAudit(
        claimed_mu=math.sqrt(rounds) / sigma, claimed_epsilon=epsilon, measured_mu=low, measured_epsilon=gaussian.epsilon(delta, low),
        delta=delta, draws=draws, confidence=confidence,
    )  # fmt: skip
