"""What left of one picture, entry by entry, and what all of it together guarantees: epsilon by
unit, or the word "none" and why.

An entry is one noised thing that left, so often: a latent, a condition, a one-way record of every
epoch. The whole composes as Gaussian differential privacy, ``mu^2 = sum mu_i^2``; an entry that
bounds nothing makes the whole bound nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.accounting import gaussian

VACUOUS = 10.0
DELTA = 1e-5
LINE_UPS = (200, 10**6)  # sizes of the line-ups that the card speaks of


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """``times`` draws of ``alpha x + sigma eps``, where ``||x|| <= clip``.

    Attributes:
        what: that left: "picture", "condition" ...
        alpha, sigma: of the noise; 1 and 0 where there is none.
        clip: the bound on the norm, or None.
        times: how often, each time with fresh noise.
        void: why the noise hides nothing, where it does not ("eps travels with it").
    """

    what: str
    alpha: float
    sigma: float
    clip: float | None
    times: int = 1
    void: str = ""

    def __post_init__(self) -> None:
        if not (0 < self.alpha <= 1 and 0 <= self.sigma <= 1) or type(self.times) is not int or self.times < 1:
            raise ValueError(f"{self.what}: alpha {self.alpha}, sigma {self.sigma}, {self.times} times; expected noise and a count")
        if self.clip is not None:
            gaussian.sensitivity(self.clip, "replace-one")

    @property
    def gap(self) -> str:
        """Why this entry bounds nothing, or the empty string."""
        if self.void:
            return f"{self.what}: {self.void}"
        if self.sigma == 0:
            return f"the {self.what} is not noised"
        return "" if self.clip is not None else f"the {self.what} has no clip"

    def mu(self, relation: str) -> float:
        """mu of the entry; infinite where it bounds nothing."""
        if self.gap or self.clip is None:
            return math.inf
        return math.sqrt(self.times) * gaussian.mu(self.alpha, self.sigma, gaussian.sensitivity(self.clip, relation))


def total(releases: Sequence[Release], *, earlier: float = 0.0, relation: str = "replace-one") -> float:
    """mu of everything together; ``earlier`` is mu under replace-one of what left before, which
    under zero-out is half."""
    share = gaussian.RELATIONS[relation] / gaussian.RELATIONS["replace-one"]
    return gaussian.compose([earlier * share, *(release.mu(relation) for release in releases)])


def card(
    releases: Sequence[Release],
    *,
    earlier: float = 0.0,
    earlier_count: int = 0,
    delta: float = DELTA,
    pictures: Sequence[int] = (10,),
    distances: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """epsilon by unit, each row with its unit, relation, clip and number of releases; rows of what
    is not bounded say "none" and why.

    Args:
        releases: what leaves now.
        earlier, earlier_count: mu (infinite: not bounded) and number of the earlier releases of the
            picture that was released most.
        delta: at which epsilon is stated.
        pictures: how many pictures a person may have, a row for each.
        distances: latent distances that occur, by what they are of; their rows compare two pictures
            that lie so near to each other, whose condition is the same, and so need no clip. They
            are left out where there were earlier releases, whose noise is not known here.

    A release is one record: a picture and its condition leave together, and count once.
    """
    gaps = [release.gap for release in releases if release.gap]
    if math.isinf(earlier):
        gaps.append("an earlier release was not bounded")
    count = earlier_count + max((release.times for release in releases), default=0)
    clips = {release.what: release.clip for release in releases}
    one = "one picture with its condition" if "condition" in clips else "one picture"
    rows: list[dict[str, Any]] = []
    for relation in gaussian.RELATIONS:
        mu = total(releases, earlier=earlier, relation=relation)
        rows.append(_row(one, relation, clips, count, mu, delta, gaps))
        for k in pictures:
            unit = f"one person with {k} pictures"
            rows.append(_row(unit, relation, clips, count * k, gaussian.person(mu, k), delta, gaps))
    latents = [release for release in releases if release.what == "picture"]
    for name, distance in (distances or {}).items() if latents and not earlier_count else ():
        mus = [math.sqrt(r.times) * gaussian.mu(r.alpha, r.sigma, distance) for r in latents if not r.void]
        void = [r.gap for r in latents if r.void or r.sigma == 0]
        unit = f"two pictures at latent distance {distance:g}, {name}" + (" with one condition" if "condition" in clips else "")
        times = max(r.times for r in latents)
        rows.append(_row(unit, "replace-one", {"picture": None}, times, gaussian.compose(mus), delta, void))
    return rows


def _row(unit: str, relation: str, clips: dict[str, float | None], count: int, mu: float, delta: float, gaps: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"unit": unit, "relation": relation, "clip": clips, "releases": count}
    if gaps:
        return row | {"guarantee": "none", "why": "; ".join(gaps)}
    epsilon = gaussian.epsilon(delta, mu)
    return row | {"guarantee": "gaussian-dp", "mu": mu, "delta": delta, "epsilon": epsilon, "vacuous": epsilon > VACUOUS}


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The card for people: no epsilon without its unit, relation, clip and releases."""
    said = []
    for row in rows:
        clips = ", ".join(f"{what} {'none' if clip is None else format(clip, 'g')}" for what, clip in row["clip"].items())
        terms = f"unit: {row['unit']}; relation: {row['relation']}; clip: {clips}; releases: {row['releases']}"
        if row["guarantee"] == "none":
            said.append(f"none ({row['why']}) [{terms}]")
        else:
            note = " VACUOUS: it rules next to nothing out" if row["vacuous"] else ""
            said.append(f"epsilon {row['epsilon']:.4g} at delta {row['delta']:g}{note}; {identified(row['mu'], row['unit'])} [{terms}]")
    return said


def identified(mu: float, unit: str) -> str:
    """The identification bound in words, for the line-ups that a card speaks of.

    Args:
        mu: of the release, finite: where there is no guarantee, nothing is said.
        unit: what mu is of, "one picture" or "one person", whatever more it says.
    """
    chances = (f"of {m:,} at most {gaussian.identification(m, mu):.2g}" for m in LINE_UPS)
    return f"mu {mu:.3g} for {unit}: chance to pick the right one of equally likely ones, {', '.join(chances)}"


MEANING = (
    "The chance to pick the right one is that of somebody who knows everything else: the mechanism, the candidates, all other pictures.",
    "It bounds how surely somebody who holds every other picture can tell that this one was sealed, rather than another.",
    "Where it is vacuous, whoever holds a candidate picture may confirm it; to reconstruct an unknown picture is harder than that.",
    "It says nothing of the number of records, which is public, nor of what other copies of the picture give away.",
)
