"""Can it be told which pictures an adapter was trained on? Every membership attack, on the owner's pictures and on others like them.

A figure is the share of pairs, of a private and another picture, that an attack puts in the right order. Its p is of the exact test of
Mann and Whitney, corrected over the attacks (Holm). Where there are so few pictures that even a perfect order would not pass, the
question is not resolvable, and stays open.
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy import stats

from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Effort, Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import Candidates, Guess, Published
from sfumato.attacker.weights.membership import STATISTICS
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.judge.metrics import significance
from sfumato.sharing.file import WHICH
from sfumato.sharing.finding import Finding, Level, Measured, Seen, Untested
from sfumato.studies.lora.question import Owned, Question

LEVEL = 0.05
CLEAR = 0.75  # from which share on a finding is high
Z, GRID = 1.959964, 10001
_MORE = "sfumato audit FILE --base BASE --private PICTURES --holdout OTHERS"


def of(
    question: Question, base: Base, adapter: Adapter, prompt: str, private: Owned, holdout: Owned | None, *, effort: Effort, seed: int,
    tell: TellOf = lambda what, done, total: None,
) -> Seen:  # fmt: skip
    """Every attack's figure; a finding where one passes; the question itself where none can."""
    answered = frozenset((WHICH,))
    if holdout is None:
        why = "no pictures were given that it was not trained on"
        return Seen(untested=(Untested(what=WHICH, why=why, how=_MORE, asked=True),), answered=answered)
    n, m = len(private.images), len(holdout.images)
    if not resolvable(n, m):
        why = f"not resolvable: with {n} private pictures and {m} others even a perfect order would not pass a corrected test"
        more = Untested(what=WHICH, why=why, how="give more of both: eight of each will do", asked=True)
        return Seen(untested=(more,), answered=answered)
    images = np.concatenate([private.images, holdout.images])
    known = Scenario(base, Published(adapter), Candidates(base.encode_pixels(images), (prompt,) * len(images)))
    scores: dict[str, np.ndarray] = {}
    untested: list[Untested] = []
    for number, variant in enumerate(STATISTICS):
        tell(f"membership by {variant}", number, len(STATISTICS))
        guess = attacks.attempt(f"membership:{variant}", known, effort=effort, seed=seed)
        if isinstance(guess, Guess) and guess.scores is not None and bool(guess.scores.isfinite().all()):
            scores[variant] = guess.scores.numpy()
        else:
            why = guess.cause if isinstance(guess, Failed) else "it came to no figure"
            untested.append(Untested(what=f"membership by {variant}, {question.path}", why=why, asked=True))
    tests = {name: _p(values[:n], values[n:]) for name, values in scores.items()}
    adjusted = significance.holm(tests)
    measured = tuple(_measured(question, name, values[:n], values[n:], adjusted[name]) for name, values in scores.items())
    why = "it trains adapters of its own on halves of the pictures: docs/results/weights.md has its figures"
    untested.append(Untested(what=f"membership by lira, {question.path}", why=why))
    return Seen(findings=_findings(question, measured, adjusted), measured=measured, untested=tuple(untested), answered=answered)


def resolvable(n: int, m: int) -> bool:
    """Whether a perfect order of ``n`` and ``m`` pictures would pass, after the correction over all attacks."""
    return len(STATISTICS) / comb(n + m, n) < LEVEL


def _findings(question: Question, measured: tuple[Measured, ...], adjusted: dict[str, float]) -> tuple[Finding, ...]:
    passed = [one for (name, p), one in zip(adjusted.items(), measured, strict=True) if p < LEVEL]
    if not passed:
        return ()
    best = max(passed, key=lambda one: one.value or 0.0)
    level: Level = "high" if (best.value or 0.0) >= CLEAR else "medium"
    return (question.finding("trained-on", best, level=level),)


def _measured(question: Question, name: str, inside: np.ndarray, outside: np.ndarray, p: float) -> Measured:
    value, low, high = interval(inside, outside)
    says = "told apart" if p < LEVEL else "not told apart"
    said = f"{value:.2f} [{low:.2f}, {high:.2f}] of pairs in the right order, chance 0.50, "
    said += f"{len(inside)} private and {len(outside)} others: {says} (p {p:.2g})"
    return question.measured(
        f"membership by {name}", said, n=len(inside) + len(outside), knew=" and the pictures asked about",
        value=value, low=low, high=high, chance=0.5,
    )  # fmt: skip


def share(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a score of ``inside`` is above one of ``outside``; ties count half."""
    above = (inside[:, None] > outside[None]).mean() + 0.5 * (inside[:, None] == outside[None]).mean()
    return float(above)


def interval(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float, float]:
    """``share`` with its 95 % score interval: every share that these scores do not speak against, by Hanley and McNeil's variance of it
    (Newcombe 2006). It is wide where pictures are few, also where each pair is in the right order."""
    n, m, value = len(inside), len(outside), share(inside, outside)
    asked = np.linspace(0, 1, GRID)
    more = ((n + m) / 2 - 1) * ((1 - asked) / (2 - asked) + asked / (1 + asked))
    spread = Z * np.sqrt(asked * (1 - asked) * (1 + more) / (n * m))
    holds = asked[np.abs(value - asked) <= spread + 1 / GRID]
    return value, min(value, float(holds.min())), max(value, float(holds.max()))


def _p(inside: np.ndarray, outside: np.ndarray) -> float:
    """One-sided, exact where no two scores are equal."""
    return float(stats.mannwhitneyu(inside, outside, alternative="greater").pvalue)
