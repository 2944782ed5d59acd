"""What an adapter draws, held against the private pictures: near-copies, and likeness to the people on them.

A drawn picture is a near-copy where it lies much nearer to a private one than any picture does that the adapter has not seen. Without such
pictures the base's own, for the same words, stand in. Distances are of EfficientNet-Lite0's features: they see what is shown, not each
pixel. Identities are told by the head that ships, which learned on drawings: it is asked first whether it tells these people at all. An
adapter draws one face, whoever's it is, so that its pictures count once: they are held against as many faces as there are other people.
"""

from __future__ import annotations

import numpy as np

from sfumato.features.efficientnet import features
from sfumato.judge.metrics.identity import judges
from sfumato.judge.metrics.probes import wilson
from sfumato.judge.report import pages
from sfumato.sharing.file import WHO
from sfumato.sharing.finding import Finding, Measured, Seen, Shown, Untested
from sfumato.studies.lora.members import LEVEL, share
from sfumato.studies.lora.question import Owned, Question

NEAR = 0.5  # of the distance of the nearest picture that it has not seen
FITS = 0.8  # share of pairs of one person that the judge must put above pairs of two
OTHERS = 20  # people in --holdout from which on being likest of all is beyond chance
PAIRS = 6  # of drawn and private pictures that are shown


def of(question: Question, drawn: np.ndarray, floor: np.ndarray, private: Owned, holdout: Owned | None) -> Seen:
    """Near-copies and identity among ``drawn``, uint8 ``(N, H, W, 3)``; ``floor`` is what the base draws for the same words."""
    others, told = (floor, "of the base") if holdout is None else (holdout.images, "that it has not seen")
    copies = _copies(question, drawn, others, told, private.images)
    alike = _identity(question, drawn, floor, private, holdout)
    return Seen(
        findings=copies.findings + alike.findings, measured=copies.measured + alike.measured, shown=copies.shown,
        untested=alike.untested, answered=frozenset((WHO,)),
    )  # fmt: skip


def _copies(question: Question, drawn: np.ndarray, others: np.ndarray, told: str, private: np.ndarray) -> Seen:
    seen = [features(images, size=128) for images in (drawn, others, private)]
    near, usual = (distances(one, seen[2]) for one in seen[:2])
    limit = NEAR * float(usual.min())
    hits = int((near.min(axis=1) < limit).sum())
    value, low, high = wilson(hits, len(drawn))
    said = f"{hits} of {len(drawn)} drawn pictures (95 % up to {high:.0%}); the nearest lies at {near.min():.3f}, "
    said += f"the nearest of {len(others)} {told} at {usual.min():.3f}"
    measured = question.measured("near-copies", said, n=len(drawn), value=value, low=low, high=high, chance=0.0)
    order = np.argsort(near.min(axis=1))[:PAIRS]
    both = [(f"drawn, the {len(order)} nearest to private pictures", drawn[order]),
            ("the private picture that each is nearest to", private[near[order].argmin(axis=1)])]  # fmt: skip
    shown = tuple(Shown(path=question.path, label=one.label, url=one.url) for one in pages.strips(both, side=80))
    found: tuple[Finding, ...] = (question.finding("near-copy", measured),) if hits else ()
    return Seen(findings=found, measured=(measured,), shown=shown)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 less the cosine of features ``(N, D)`` and ``(M, D)``, ``(N, M)``."""
    one, two = (x.astype(np.float64) / np.maximum(1e-12, np.linalg.norm(x, axis=1, keepdims=True)) for x in (a, b))
    apart: np.ndarray = np.clip(1 - one @ two.T, 0, 2)
    return apart


def _identity(question: Question, drawn: np.ndarray, floor: np.ndarray, private: Owned, holdout: Owned | None) -> Seen:
    """How like the private people what it draws is, against how like other people are."""
    asked = f"likeness to the people, {question.path}"
    embedded = _unit(judges().embed(private.images))
    if holdout is None:
        return _open(asked, "without --holdout nothing tells whether the judge of identity fits these pictures")
    fits = _fit(embedded, private.people, _unit(judges().embed(holdout.images)), holdout.people)
    if fits is None:
        return _open(asked, "two pictures of one person and pictures of other people are needed to see whether the judge fits")
    if fits < FITS:
        return _open(asked, f"the judge of identity puts {fits:.2f} of pairs of these people right, {FITS} are asked: it does not fit")
    people = _centres(embedded, private.people)
    others = _unit(judges().embed(holdout.images))
    usual = (_centres(others, _each(holdout.people)) @ people.T).max(axis=1)
    own = float((_unit(judges().embed(drawn).mean(axis=0, keepdims=True)) @ people.T).max())
    base = float((_unit(judges().embed(floor).mean(axis=0, keepdims=True)) @ people.T).max())
    more = int((usual >= own).sum())
    p = (1 + more) / (1 + len(usual))
    value, low, high = wilson(len(usual) - more, len(usual))
    said = (
        f"cosine {own:.2f}, of what the base draws {base:.2f}; more than {len(usual) - more} of {len(usual)} other people are (p {p:.2g})"
    )
    measured: Measured = question.measured("likeness to the people", said, n=len(usual), value=value, low=low, high=high, chance=0.5)
    if len(usual) < OTHERS:
        few = _open(asked, f"not resolvable with {len(usual)} other people: with {OTHERS} the likest of them all would be beyond chance")
        return Seen(measured=(measured,), untested=few.untested)
    found = (question.finding("identity", measured),) if p < LEVEL else ()
    return Seen(findings=found, measured=(measured,))


def _each(names: tuple[str, ...]) -> tuple[str, ...]:
    """People's names, of pictures of nobody one each."""
    return tuple(name or f"picture {number}" for number, name in enumerate(names))


def _centres(embedded: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Each person's mean, of length 1, ``(P, D)``."""
    return _unit(np.stack([embedded[[one == name for one in names]].mean(axis=0) for name in dict.fromkeys(names)]))


def _fit(own: np.ndarray, own_names: tuple[str, ...], other: np.ndarray, other_names: tuple[str, ...]) -> float | None:
    """How often the judge puts a pair of one person above a pair of two; None where there is no pair of either. Pictures of nobody are one
    person's in the private folder, and other people's in the other."""
    alike = own @ own.T
    same = np.array([[a == b for b in own_names] for a in own_names])
    within = alike[same & ~np.eye(len(own), dtype=bool)]
    apart = np.array([[not b or a != b for b in other_names] for a in own_names])
    across = np.concatenate([(own @ other.T)[apart], alike[~same]])
    return share(within, across) if len(within) and len(across) else None


def _unit(x: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = x / np.maximum(1e-12, np.linalg.norm(x, axis=1, keepdims=True))
    return lengths


def _open(what: str, why: str) -> Seen:
    return Seen(untested=(Untested(what=what, why=why),))
