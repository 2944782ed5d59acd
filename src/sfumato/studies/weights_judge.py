"""Who judges pictures that came of a shared LoRA: one answer in a line-up for each victim, and how near it came."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfumato.features.efficientnet import features
from sfumato.features.identity import describe
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.identity import MINIMUM, Gallery, judges
from sfumato.judge.metrics.probes import Probes, fit_probes
from sfumato.judge.metrics.recovery import feature_distance
from sfumato.pictures import store
from sfumato.studies.lora_people import STYLE, Victim

ATTRIBUTES = ("skin", "hair")


class Judge:
    """Scores pictures of one person: who is recognised, how alike, and whether a private picture was copied.

    Every pool has a line-up of its own, of people of that pool: strangers who lack what is rare in it would make it an easy one.
    """

    def __init__(self, victims: list[Victim], each: int, seed: int) -> None:
        self.each = each
        self.galleries = {pool: _gallery([v for v in victims if v.pool == pool], pool, each, seed) for pool in {v.pool for v in victims}}
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


def _gallery(victims: list[Victim], pool: str, each: int, seed: int) -> Gallery:
    """The victims' other pictures, and strangers of the same pool up to the least number of people."""
    images = np.concatenate([victim.pictures.images[each:] for victim in victims])
    names = [name for victim in victims for name in victim.pictures.identities[each:]]
    known = set(names)
    missing = max(0, MINIMUM - len(known))
    if missing:
        more = store.distinct(STYLE, pool, missing, each, seed=seed, purpose="lora gallery", keep=lambda key: key not in known)  # type: ignore[arg-type]
        images, names = np.concatenate([images, more.images]), names + more.identities
    images, index = np.unique(images, axis=0, return_index=True)
    return Gallery.of(images, [names[i] for i in index])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """EffLite0 distances ``(K, M)`` of pictures with features ``(K, D)`` and ``(M, D)``."""
    return feature_distance(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))).reshape(len(a), len(b))
