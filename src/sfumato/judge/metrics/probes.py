"""Does a picture show what its prompt says? Linear probes on frozen features, and the background by its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from PIL import ImageColor

from sfumato.core.errors import UserError
from sfumato.pictures.avatars import BACKGROUNDS

Attributes = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Probes:
    """One linear classifier per attribute, fitted on real pictures."""

    classifiers: dict[str, Any]

    def predict(self, features: np.ndarray, name: str) -> np.ndarray:
        """The values of attribute ``name`` seen in ``features`` ``(N, D)``, as strings ``(N,)``."""
        predicted: np.ndarray = self.classifiers[name].predict(features)
        return predicted

    def accuracy(self, features: np.ndarray, attributes: Attributes) -> dict[str, tuple[float, float, float]]:
        """Share of pictures that show the attributes asked for, with 95 % Wilson intervals.

        Args:
            features: ``(N, D)``, of generated pictures, or of real ones for the probes' own accuracy.
            attributes: the N pictures' attributes as asked for.

        Returns:
            ``(mean, low, high)`` by attribute name. A value that the probe never saw counts as a miss.
        """
        _same_length(features, attributes)
        hits = {name: int((self.predict(features, name) == _values(attributes, name)).sum()) for name in self.classifiers}
        return {name: wilson(k, len(attributes)) for name, k in hits.items()}


def fit_probes(features: np.ndarray, attributes: Attributes, names: Sequence[str]) -> Probes:
    """Fit a logistic regression on standardised features for every attribute.

    Args:
        features: ``(N, D)`` of real pictures.
        attributes: the N pictures' attributes.
        names: the attributes to learn; each must take two values at least.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _same_length(features, attributes)
    classifiers = {}
    for name in names:
        values = _values(attributes, name)
        if len(set(values)) < 2:
            raise UserError(f"attribute {name!r} takes {len(set(values))} value(s)", expected="two at least", fix="add pictures or drop it")
        # Strong shrinkage: there are about as many features as pictures.
        classifiers[name] = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(features, values)
    return Probes(classifiers)


def background_agreement(images: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """Whether the background has the colour asked for.

    The colour is the commonest of the border pixels' (in steps of 16, then their mean); it agrees when no other of the
    avatars' ``BACKGROUNDS`` is nearer in RGB.

    Args:
        images: uint8 ``(N, H, W, 3)``.
        wanted: N names of ``BACKGROUNDS``.

    Returns:
        boolean ``(N,)``.
    """
    _same_length(images, wanted)
    unknown = sorted(set(wanted) - set(BACKGROUNDS))
    if unknown:
        raise UserError(f"unknown background {unknown[0]!r}", expected=f"one of {', '.join(BACKGROUNDS)}")
    names = np.array(list(BACKGROUNDS))
    palette = np.array([ImageColor.getrgb(colour) for colour in BACKGROUNDS.values()], dtype=np.float64)
    seen = np.array([_modal_border(image) for image in images]).reshape(-1, 1, 3)
    nearest = np.square(seen - palette).sum(axis=-1).argmin(axis=1)
    agrees: np.ndarray = names[nearest] == np.array(wanted)
    return agrees


def wilson(hits: int, n: int, *, z: float = 1.959964) -> tuple[float, float, float]:
    """Share ``hits / n`` and its Wilson interval, 95 % by default."""
    if not 0 <= hits <= n or n == 0:
        raise UserError(f"{hits} of {n}", expected="0 <= hits <= n and n > 0")
    p = hits / n
    centre, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return p, min(p, max(0.0, (centre - spread) / scale)), max(p, min(1.0, (centre + spread) / scale))


def _modal_border(image: np.ndarray) -> np.ndarray:
    """Mean of the border pixels ``(3,)`` that fall into the fullest cell of a 16 x 16 x 16 grid of colours."""
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    _, cell, count = np.unique(border // 16, axis=0, return_inverse=True, return_counts=True)
    modal: np.ndarray = border[cell.reshape(-1) == count.argmax()].mean(axis=0)
    return modal


def _values(attributes: Attributes, name: str) -> np.ndarray:
    return np.array([picture[name] for picture in attributes])


def _same_length(pictures: np.ndarray, other: Sequence[Any]) -> None:
    if len(pictures) != len(other):
        raise UserError(f"{len(pictures)} pictures, {len(other)} descriptions", expected="as many of one as of the other")
