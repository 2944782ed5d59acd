"""Is an attack better than its baseline, and how sure is that? Paired, by person, corrected for the number of questions.

Several pictures of a person are not independent: whoever is easily recognised in one is so in the next. So resampling
and tests move whole people. Scores are such that more is better for the attack; negate distances.
Notation: N pictures, C people (clusters) in them, m questions asked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from scipy import stats

from sfumato.core.errors import UserError
from sfumato.judge.metrics.probes import wilson

Verdict = Literal["effective", "not effective", "inconclusive"]
FLIPS = 20000  # the smallest p is 1 in 20,001: small enough to survive Holm's correction over a matrix of some hundred cells
_Z = 1.959964


@dataclass(frozen=True)
class Comparison:
    """An attack's ``mean`` score and its ``difference`` from the baseline's, with 95 % intervals.

    Attributes:
        p: probability, were the attack no better than the baseline, of a difference as large as this one; never 0.
        n: pictures.
        clusters: people, or pictures where people are not known.
    """

    mean: float
    low: float
    high: float
    baseline: float
    difference: float
    difference_low: float
    difference_high: float
    p: float
    n: int
    clusters: int


def compare(
    attack: np.ndarray,
    baseline: np.ndarray,
    *,
    generator: np.random.Generator,
    clusters: Sequence[str] | np.ndarray | None = None,
    resamples: int = 2000,
    flips: int = FLIPS,
) -> Comparison:
    """Compare the scores of an attack and of its baseline on the same pictures.

    The intervals hold the percentiles of a bootstrap over people, and besides, since a bootstrap of few people knows of
    no spread that they do not show: for hits, Wilson's interval and Bonett and Price's (2012) for paired shares with C
    pairs; else Student's interval of the people's means. So an attack that was tried on two people never looks certain.

    ``p`` is one-sided, of a permutation test that exchanges attack and baseline for all pictures of a person at once. It
    is exact where the two are exchangeable, and holds for their means in large samples: ``(1 + count) / (1 + flips)``.

    Args:
        attack, baseline: ``(N,)``, numbers or booleans, in the same order of pictures.
        generator: draws the bootstrap and the permutations.
        clusters: the N pictures' people; None: each picture is another's.
        resamples: bootstrap resamples.
        flips: permutations.

    Raises:
        UserError: scores that are not paired or not finite, or fewer than two people.
    """
    if attack.shape != baseline.shape or attack.ndim != 1:
        raise UserError(f"scores of shapes {attack.shape} and {baseline.shape}", expected="the same pictures' scores, (N,) each")
    if clusters is not None and len(clusters) != len(attack):
        raise UserError(f"{len(attack)} scores, people for {len(clusters)}", expected="the person of every picture")
    scores = np.stack([attack, baseline]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise UserError("scores that are not finite", expected="numbers", fix="report the attack as failed; it diverged")
    people = np.arange(len(attack)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    c = len(set(people.tolist()))
    if c < 2 or resamples < 1 or flips < 1:
        raise UserError(f"{c} people, {resamples} resamples, {flips} flips", expected="two people and one of the others, at least")
    scores = np.vstack([scores, scores[0] - scores[1]])
    sums = np.stack([np.bincount(people, weights=row, minlength=c) for row in scores])
    counts = np.bincount(people, minlength=c)

    drawn = generator.multinomial(c, np.full(c, 1 / c), size=resamples)
    means = (drawn @ sums.T) / (drawn @ counts)[:, None]
    mean, base, difference = (float(m) for m in scores.mean(axis=1))
    if bool(np.isin(scores[:2], (0, 1)).all()):
        _, low, high = wilson(round(mean * c), c)
        exact = ((low, high), _bonett_price(scores[2], c))
    else:
        exact = (_student(sums[0], counts), _student(sums[2], counts))
    low, high = _widest(means[:, 0], exact[0])
    difference_low, difference_high = _widest(means[:, 2], exact[1])
    p = _exchange(sums[2], generator=generator, flips=flips)
    return Comparison(mean, low, high, base, difference, difference_low, difference_high, p, len(attack), c)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment: below ``level``, the chance of a single false finding among all is at most ``level``.

    Args:
        p_values: by name, each in [0, 1], one for each of the m questions asked (Holm 1979).

    Returns:
        The adjusted values by name, in the order given.
    """
    wrong = next((name for name, p in p_values.items() if not 0 <= p <= 1), None)
    if wrong is not None:
        raise UserError(f"p of {wrong!r} is {p_values[wrong]}", expected="a number in [0, 1]")
    adjusted, largest = {}, 0.0
    for i, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def verdict(comparison: Comparison, adjusted_p: float, *, width: float, level: float = 0.05) -> Verdict:
    """What a comparison shows.

    Better than the baseline beyond doubt is *effective*, however wide the interval. Otherwise it is *not effective* only
    where the interval of the difference is at most ``width`` wide and lets the attack be no better than the baseline.

    Args:
        comparison: as ``compare`` gives it.
        adjusted_p: its ``p`` after ``holm``.
        width: the widest 95 % interval of the difference that still says something, in units of the score.
        level: of significance.
    """
    if adjusted_p < comparison.p or width <= 0:
        raise UserError(
            f"adjusted p {adjusted_p}, p {comparison.p}, width {width}", expected="an adjusted p of at least p, a width above 0"
        )
    better = comparison.difference_low > 0
    if better and adjusted_p < level:
        return "effective"
    wide = comparison.difference_high - comparison.difference_low > width
    return "inconclusive" if wide or better or adjusted_p < level else "not effective"


def _exchange(differences: np.ndarray, *, generator: np.random.Generator, flips: int) -> float:
    """One-sided p of the sum of ``differences`` ``(C,)`` among sums with random signs."""
    total, count = differences.sum(), 0
    slack = 1e-9 * np.abs(differences).sum()  # equal sums in another order of addition are equal
    for start in range(0, flips, 1000):
        signs = generator.integers(2, size=(min(1000, flips - start), len(differences)), dtype=np.int8)
        count += int(((2.0 * signs - 1) @ differences >= total - slack).sum())
    return (1 + count) / (1 + flips)


def _bonett_price(differences: np.ndarray, c: int) -> tuple[float, float]:
    """Interval of the difference of two paired shares of ``c`` people, one of each discordant kind added."""
    more, less = ((c * float(side.mean()) + 1) / (c + 2) for side in (differences > 0, differences < 0))
    spread = _Z * sqrt((more + less - (more - less) ** 2) / (c + 2))
    return max(-1.0, more - less - spread), min(1.0, more - less + spread)


def _student(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean over pictures, from people's sums and numbers of pictures ``(C,)``."""
    c, mean = len(sums), sums.sum() / counts.sum()
    error = sqrt(float(np.square(sums - mean * counts).sum()) * c / (c - 1)) / counts.sum()
    spread = float(stats.t.ppf(0.975, c - 1)) * error
    return float(mean - spread), float(mean + spread)


def _widest(means: np.ndarray, interval: tuple[float, float]) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return min(float(low), interval[0]), max(float(high), interval[1])
