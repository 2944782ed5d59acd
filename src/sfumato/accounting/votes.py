"""Noisy counts: how much noise ``rounds`` of votes need, what they can carry, and the noise itself.

A person's votes are a vector of norm 1 at most, so adding or removing a person moves a sum of them
by no more than 1: with noise ``sigma N(0, I)`` a round is ``1 / sigma``-GDP, and ``R`` rounds, each
chosen after all before it was seen, are ``sqrt(R) / sigma``-GDP (add-or-remove).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from sfumato.accounting import gaussian
from sfumato.core.errors import UserError
from sfumato.core.randomness import Noise

ONE_BITS = 30  # a vote of 1 is 2**30: people's votes are whole numbers, and their sum is exact
GRID_BITS = 6  # noisy counts are multiples of 2**-6
STANDS_OUT = 2.0  # standard deviations of the noise that a count must exceed


def sigma(epsilon: float, delta: float, rounds: int) -> float:
    """The noise of each of ``rounds`` rounds that together are (epsilon, delta)-private.

    Raises:
        UserError: an epsilon that is not above 0, or no number of rounds.
    """
    if not 0 < epsilon < math.inf:
        raise UserError(f"epsilon {epsilon}", expected="a number above 0, such as 1")
    if type(rounds) is not int or not 1 <= rounds <= 1000:
        raise UserError(f"{rounds} rounds", expected="1 to 1000")
    return math.sqrt(rounds) / gaussian.target_mu(epsilon, delta)


def scaled(counts: Sequence[int]) -> list[int]:
    """One person's votes, whole numbers ``(K,)`` from 0 up, scaled to norm 1 in units of
    ``2**-ONE_BITS``.

    Every entry is rounded down in integer arithmetic, so the norm is 1 at most, exactly.
    """
    squares = sum(count * count for count in counts)
    if squares == 0 or min(counts) < 0:
        raise ValueError("expected votes from 0 up, and one at least")
    return [math.isqrt((count * count << 2 * ONE_BITS) // squares) for count in counts]


def noised(sums: Sequence[int], noise_multiplier: float, noise: Noise) -> list[int]:
    """Sums of ``scaled`` votes ``(K,)`` with Gaussian noise, rounded to multiples of
    ``2**-GRID_BITS``.

    A sum of floating-point numbers shows in its last bits what was added (Mironov, "On significance
    of the least significant bits for differential privacy", CCS 2012). Here the noise, a 53-bit
    number, is added to an exact sum as a fraction, and rounding comes after it, to a grid of a
    power of two: what can come out is the same for all data. Not covered: the far tails, which a
    53-bit source cannot fill (beyond about 8 sigma, less than 1e-12 of the mass of a count, where
    delta is 1e-5), and the time that it takes.
    """
    drawn = noise.normal((len(sums),)).tolist()
    return [
        round((Fraction(one, 2**ONE_BITS) + Fraction(noise_multiplier) * Fraction(z)) * 2**GRID_BITS)
        for one, z in zip(sums, drawn, strict=True)
    ]


def carried(voters: int, noise_multiplier: float, owners: int = 1) -> int:
    """How many clusters at most can stand out of the noise, when ``owners`` like this one vote."""
    return int(voters * math.sqrt(owners) / (STANDS_OUT * noise_multiplier))


def needed(clusters: int, voters: int, delta: float, rounds: int, owners: int = 1) -> float:
    """The epsilon at which ``clusters`` clusters that share the votes evenly would just stand
    out."""
    enough = voters * math.sqrt(owners) / (STANDS_OUT * clusters)
    return gaussian.epsilon(delta, math.sqrt(rounds) / enough)
