"""Who judges what came of a shared LoRA: one answer in a line-up for each victim, and how near
pictures came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.features.efficientnet import features
from sfumato.features.identity import describe
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.identity import MINIMUM, Gallery, judges
from sfumato.judge.metrics.probes import Probes, fit_probes
from sfumato.judge.metrics.recovery import feature_distance
from sfumato.pictures import store
from sfumato.studies.lora.people import STYLE, Victim

ATTRIBUTES = ("skin", "hair")


class Judge:
    """Scores pictures of one person: who is recognised, how alike, and whether a private picture
    was copied.

    Every pool has a line-up of its own, of people of that pool: strangers who lack what is rare in
    it would make it an easy one.
    """

    def __init__(self, victims: list[Victim], each: int, seed: int) -> None:
        self.each = each
        shown = {pool: _people([v for v in victims if v.pool == pool], pool, each, seed) for pool in {v.pool for v in victims}}
        self.galleries = {pool: _gallery(images, people) for pool, (images, people) in shown.items()}
        self.line_ups = {pool: _shuffled(images, people, seed) for pool, (images, people) in shown.items()}
        public = store.load(STYLE, "public", 1200, seed=seed + 3)
        self.probes: Probes = fit_probes(guesses.described(public.images, features(public.images, size=128)), public.attributes, ATTRIBUTES)
        self._real: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def chance(self) -> float:
        """Of naming the right person by luck."""
        return max(gallery.chance for gallery in self.galleries.values())

    def __call__(self, images: np.ndarray, victim: Victim) -> dict[str, Any]:
        """Of pictures uint8 ``(K, H, W, 3)``, taken together: one answer."""
        person, gallery, seen = victim.pictures.identities[0], self.galleries[victim.pool], features(images, size=128)
        probe = judges().embed_described(describe(images, seen=seen)).mean(axis=0, keepdims=True)
        hit, rank = gallery.reidentify(probe, [person])
        own = gallery.similarities(probe)[0, gallery.identities.index(person)]
        if victim.name not in self._real:
            real = features(victim.pictures.images, size=128)
            self._real[victim.name] = real[: self.each], real[self.each :]
        near, usual = (_distances(seen, real).min(axis=1).mean() for real in self._real[victim.name])
        shown = guesses.described(images, seen)
        right = {name: float(np.mean(self.probes.predict(shown, name) == victim.pictures.attributes[0][name])) for name in ATTRIBUTES}
        return {"hit": bool(hit[0]), "rank": int(rank[0]), "identity": float(own), "nearest private": float(near),
                "nearest other": float(usual), **right}  # fmt: skip

    def named(self, scores: torch.Tensor, victim: Victim) -> dict[str, Any]:
        """Of scores ``(M,)`` of the people in the pool's line-up: whoever scores as much as the
        victim ranks before them."""
        line_up = self.line_ups[victim.pool]
        if scores.shape != (len(line_up.people),):
            raise UserError(f"scores of shape {tuple(scores.shape)}", expected=f"one for each of {len(line_up.people)} people")
        rank = int((scores >= scores[line_up.people.index(victim.pictures.identities[0])]).sum())
        return {"hit": rank == 1, "rank": rank}


@dataclass(frozen=True, eq=False)
class Shuffled:
    """A line-up in an order that says nothing: pictures uint8 ``(M, K, H, W, 3)``, and whose they
    are, which is the judge's alone."""

    images: np.ndarray
    people: tuple[str, ...]


def _people(victims: list[Victim], pool: str, each: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """The victims' other pictures, and strangers of the same pool up to the least number of people:
    ``(M, each, H, W, 3)``, and who."""
    images = np.stack([victim.pictures.images[each : 2 * each] for victim in victims])
    people = [victim.pictures.identities[each] for victim in victims]
    known = set(people)
    missing = max(0, MINIMUM - len(known))
    if missing:
        more = store.distinct(STYLE, pool, missing, each, seed=seed, purpose="lora gallery", keep=lambda key: key not in known)  # type: ignore[arg-type]
        images = np.concatenate([images, more.images.reshape(missing, each, *more.images.shape[1:])])
        people += more.identities[::each]
    return images, people


def _gallery(images: np.ndarray, people: list[str]) -> Gallery:
    names = [person for person in people for _ in range(images.shape[1])]
    images, index = np.unique(images.reshape(-1, *images.shape[2:]), axis=0, return_index=True)
    return Gallery.of(images, [names[i] for i in index])


def _shuffled(images: np.ndarray, people: list[str], seed: int) -> Shuffled:
    order = torch.randperm(len(people), generator=generator(seed, 43)).tolist()
    return Shuffled(images[order], tuple(people[i] for i in order))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """EffLite0 distances ``(K, M)`` of pictures with features ``(K, D)`` and ``(M, D)``."""
    return feature_distance(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))).reshape(len(a), len(b))
