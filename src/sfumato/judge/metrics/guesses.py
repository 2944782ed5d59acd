"""Score what an attack brought back against the truth, target by target, beside what anybody could have guessed.

Every cell is paired with its baseline on the same pictures and tested by person. More is better for the attack in every score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats

from sfumato.attacker.records.base import Guess, Target
from sfumato.core.device import choose_precision
from sfumato.diffusion.base import Base
from sfumato.features import identity
from sfumato.features.colour import colour_histogram
from sfumato.features.efficientnet import features
from sfumato.judge.metrics import adherence, recovery, significance
from sfumato.judge.metrics.identity import Gallery, judges
from sfumato.judge.metrics.probes import Probes

AMONG = (100, 200, 500)  # candidates, beside all that there are
WIDTH = {"picture": 0.1, "condition": 0.15, "person": 0.15, "prompt": 0.15, "candidate": 0.25}  # wider intervals say nothing


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of the N records, and the gallery of *other* pictures of the same people.

    Attributes:
        images, edges: uint8 ``(N, H, W, 3)`` and boolean ``(N, H, W)``.
        captions: N texts.
        people: who is on each; N different names where nobody knows.
        candidates: for each record the row among the candidates that it is.
        gallery: uint8 pictures ``(M, H, W, 3)`` and their people, or None where there is no gallery.
        probes: rows whose people are looked for in the gallery; None for all of them.
        latents: the true ``z_0`` and ``c`` ``(N, 4, h, w)``, or None.
        attributes: what makes the probes, asked when a picture is scored, and the N pictures' exact attributes; or None.
    """

    images: np.ndarray
    edges: np.ndarray
    captions: list[str]
    people: list[str]
    candidates: np.ndarray
    gallery: tuple[np.ndarray, list[str]] | None = None
    probes: np.ndarray | None = None
    latents: tuple[torch.Tensor, torch.Tensor] | None = None
    attributes: tuple[Callable[[], Probes], list[dict[str, str]]] | None = None
    _made: dict[Any, Gallery] = field(default_factory=dict, repr=False)
    _seen: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def features(self, count: int) -> np.ndarray:
        """Of the first ``count`` pictures, at size 128; made once for all."""
        if "seen" not in self._seen:
            self._seen["seen"] = features(self.images, size=128)
        return self._seen["seen"][:count]

    def probed(self, count: int) -> np.ndarray:
        """Those of the first ``count`` rows whose people are looked for."""
        if self.gallery is None:
            return np.arange(0)
        return np.arange(count) if self.probes is None else self.probes[self.probes < count]

    def galleried(self, embed: Callable[[np.ndarray], np.ndarray] | None) -> Gallery:
        """The gallery in the judge's space, or in an attack's own; made once for each."""
        assert self.gallery is not None
        if embed not in self._made:
            self._made[embed] = Gallery.of(*self.gallery, embed=embed)
        return self._made[embed]


@dataclass(frozen=True, eq=False)
class Prior:
    """What anybody could guess without a record: draws of the base, and the mean of the public pictures, both uint8 ``(N, H, W, 3)``."""

    drawn: np.ndarray
    mean: np.ndarray
    _made: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _against: list[tuple[Truth, dict[str, np.ndarray]]] = field(default_factory=list, repr=False)

    def against(self, truth: Truth, what: str, score: Callable[[], np.ndarray]) -> np.ndarray:
        """A score of all of it against a truth, picture by picture; made once for all attacks."""
        known = next((made for other, made in self._against if other is truth), None)
        if known is None:
            known = {}
            self._against.append((truth, known))
        if what not in known:
            known[what] = score()
        return known[what]

    def described(self, count: int) -> np.ndarray:
        """What probes see of the first ``count`` drawn ones; made once for all."""
        if "described" not in self._made:
            self._made["described"] = described(self.drawn, features(self.drawn, size=128))
        return self._made["described"][:count]

    def embedded(self, rows: np.ndarray) -> np.ndarray:
        """The drawn ones at ``rows`` in the judge's identity space; made once for all."""
        if "people" not in self._made:
            drawn, again = np.unique(self.drawn, axis=0, return_inverse=True)  # few draws stand for many records
            self._made["people"] = judges().embed(drawn)[again.ravel()]
        return self._made["people"][rows]


def score(guess: Guess, truth: Truth, prior: Prior, base: Base, *, condition: str | None, seed: int) -> dict[Target, dict[str, Any]]:
    """Every target that a guess speaks of; each cell with ``score``, interval, ``prior_only``, ``chance``, ``p``, ``n`` and more beside.

    ``condition`` is what extracts one from a picture; None where nothing does, so that only a guess at it itself is scored.
    """
    cells: dict[Target, dict[str, Any]] = {}
    images = guess.images
    if images is None and guess.z_0 is not None:
        images = base.decode_pixels(guess.z_0, precision=choose_precision(base.vae.device))
    if images is not None:
        seen = features(images, size=128)
        cells["picture"] = _picture(images, seen, truth, prior, seed)
        cells["picture"]["beside"] |= _attributes(described(images, seen), truth, prior)
        rows = truth.probed(len(images))
        if len(rows):
            embedded = judges().embed_described(identity.describe(images[rows], seen=seen[rows]))
            cells["person"] = _person(rows, embedded, prior.embedded(rows), None, truth, seed)
    if guess.embeddings is not None and guess.embed is not None and len(rows := truth.probed(len(guess.embeddings))):
        strangers = _others([truth.people[i] for i in rows], seed)
        # What it says of other people's records is no guess without records: a reader of few people names each of them often.
        cell = _person(rows, guess.embeddings[rows], guess.embeddings[rows][strangers], guess.embed, truth, seed)
        cells["person"] = {**cell, "guess": cell["chance"]}
    edges = [] if guess.c is None else [base.decode_pixels(guess.c, precision=choose_precision(base.vae.device)).max(axis=-1) > 127]
    edges += [] if images is None or condition is None else [adherence.edges_of(images, condition)]
    if edges:  # of the condition that was found and of the one that is in the picture, the better
        cells["condition"] = max((_condition(found, truth, prior, condition, seed) for found in edges), key=lambda cell: cell["score"])
    if guess.prompts is not None:
        cells["prompt"] = _prompt(guess.prompts, truth, seed)
    for target, made, k in (("picture", guess.z_0, 0), ("condition", guess.c, 1)):
        if made is not None and truth.latents is not None:
            cells[target].setdefault("beside", {})["latent error"] = _relative_error(made, truth.latents[k])  # type: ignore[index]
    if guess.scores is not None:
        own, scores = truth.candidates[: len(guess.scores)], guess.scores.numpy()
        hits, chance = scores.argmax(axis=1) == own, 1 / scores.shape[1]
        beside = {f"top-1 among {m}": _among(scores, own, m) for m in AMONG if m < scores.shape[1]}
        beside["top-5"] = float(((scores >= scores[np.arange(len(own)), own][:, None]).sum(axis=1) <= 5).mean())
        cells["candidate"] = _cell(hits, np.full(len(hits), chance), truth.people[: len(hits)], seed, chance=chance, beside=beside)
    return cells


def judged(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All cells of a matrix by name, with Holm's adjusted p and the verdict over all of them."""
    adjusted = significance.holm({name: cell["p"] for name, cell in cells.items()})
    found = {}
    for name, cell in cells.items():
        difference, low, high = cell["difference"]
        comparison = significance.Comparison(
            mean=cell["score"], low=cell["low"], high=cell["high"], baseline=cell["prior_only"], difference=difference,
            difference_low=low, difference_high=high, p=cell["p"], n=cell["n"], clusters=cell["people"],
        )  # fmt: skip
        verdict = significance.verdict(comparison, adjusted[name], width=WIDTH[cell["target"]])
        found[name] = {**cell, "adjusted_p": adjusted[name], "verdict": verdict, "effective": verdict == "effective"}
    return found


def _cell(attack: np.ndarray, baseline: np.ndarray, people: list[str], seed: int, *, chance: float, **more: Any) -> dict[str, Any]:
    clusters = people if len(set(people)) > 1 else None  # one person's pictures stand each for itself
    got = significance.compare(attack, baseline, generator=np.random.default_rng(seed), clusters=clusters)
    return {
        "score": got.mean, "low": got.low, "high": got.high, "prior_only": got.baseline, "chance": chance,
        "difference": [got.difference, got.difference_low, got.difference_high], "p": got.p, "n": got.n, "people": got.clusters, **more,
    }  # fmt: skip


def _picture(images: np.ndarray, seen: np.ndarray, truth: Truth, prior: Prior, seed: int) -> dict[str, Any]:
    real = truth.images[: len(images)]
    own = recovery.scores(images, real, seen=(seen, truth.features(len(images))))
    drawn, mean = (
        prior.against(truth, name, partial(recovery.likeness, made[: len(truth.images)], truth.images))[: len(images)]
        for name, made in (("drawn", prior.drawn), ("mean", prior.mean))
    )
    # Against whichever prior guess is the better: the blurred mean or a sharp stranger.
    rival = max((drawn, mean), key=lambda likeness: float(likeness.mean()))
    beside = {name: float(values.mean()) for name, values in own.items()}
    return _cell(own["ssim"], rival, truth.people[: len(images)], seed, chance=float(drawn.mean()), beside=beside)


def described(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What attribute probes see of pictures uint8 ``(N, H, W, 3)`` with features ``(N, D)``."""
    return np.hstack([seen, colour_histogram(images)])


def _attributes(shown: np.ndarray, truth: Truth, prior: Prior) -> dict[str, float]:
    """How often a guess shows the true value of each attribute, and how often a draw of the prior does."""
    if truth.attributes is None:
        return {}
    probes, wanted = truth.attributes[0](), truth.attributes[1][: len(shown)]
    own, rival = (recovery.attribute_hits(probes, some, wanted) for some in (shown, prior.described(len(shown))))
    return {f"{name}{of}": float(hits[name].mean()) for name in own for of, hits in (("", own), (" by the prior", rival))}


def _person(
    rows: np.ndarray, embedded: np.ndarray, rival: np.ndarray, embed: Callable[[np.ndarray], np.ndarray] | None, truth: Truth, seed: int
) -> dict[str, Any]:
    gallery, people = truth.galleried(embed), [truth.people[i] for i in rows]
    hits, _ = gallery.reidentify(embedded, people)
    missed, _ = gallery.reidentify(rival, people)
    beside = {"auc": gallery.auc(embedded, people), "auc of the prior": gallery.auc(rival, people)}
    cell = _cell(hits, missed, people, seed, chance=gallery.chance, beside=beside, gallery=len(gallery.identities))
    return {**cell, "guess": gallery.guessed(rival, people)}


def _condition(found: np.ndarray, truth: Truth, prior: Prior, condition: str | None, seed: int) -> dict[str, Any]:
    n = len(found)
    f1 = adherence.edge_f1(truth.edges[:n], found)
    chance = adherence.shuffled_f1(truth.edges[:n], found, generator=np.random.default_rng(seed))
    rival = chance
    if condition is not None:
        drawn = prior.against(truth, f"edges, {condition}", partial(_edge_f1, truth.edges, prior.drawn, condition))[:n]
        rival = chance if chance.mean() > drawn.mean() else drawn
    return _cell(f1, rival, truth.people[:n], seed, chance=float(chance.mean()))


def _edge_f1(edges: np.ndarray, drawn: np.ndarray, condition: str) -> np.ndarray:
    return adherence.edge_f1(edges, adherence.edges_of(drawn[: len(edges)], condition))


def _prompt(prompts: list[str], truth: Truth, seed: int) -> dict[str, Any]:
    n = len(prompts)
    other = _others(truth.people[:n], seed)
    own = np.array([_shared(a, b) for a, b in zip(prompts, truth.captions[:n], strict=True)])
    rival = np.array([_shared(truth.captions[k], truth.captions[i]) for i, k in enumerate(other.tolist())])
    exact = sum(a == b for a, b in zip(prompts, truth.captions[:n], strict=True)) / n
    return _cell(own, rival, truth.people[:n], seed, chance=float(rival.mean()), beside={"exact": exact})


def _among(scores: np.ndarray, own: np.ndarray, m: int) -> float:
    """How often the right one of M candidates comes first among itself and ``m - 1`` others drawn at random: exact, by counting those
    that come before it."""
    right = scores[np.arange(len(own)), own][:, None]
    before, others = (scores >= right).sum(axis=1) - 1, scores.shape[1] - 1
    return float(stats.hypergeom.pmf(0, others, before, m - 1).mean())


def _relative_error(made: torch.Tensor, true: torch.Tensor) -> float:
    """Mean over records of ``|made - true| / |true|``."""
    true = true[: len(made)].flatten(1)
    return float(((made.flatten(1) - true).norm(dim=1) / true.norm(dim=1).clamp(min=1e-12)).mean())


def _shared(guess: str, truth: str) -> float:
    """Share of the words in either that stand in both."""
    a, b = set(guess.replace(",", " ").split()), set(truth.replace(",", " ").split())
    return len(a & b) / max(1, len(a | b))


def _others(people: list[str], seed: int) -> np.ndarray:
    """For each row another person's row."""
    draws, names = np.random.default_rng(seed), np.array(people)
    everyone = np.arange(len(names))
    return np.array(
        [draws.choice(everyone[names != name]) if (names != name).any() else (i + 1) % len(names) for i, name in enumerate(names)]
    )
