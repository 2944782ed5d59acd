"""Whether pictures have a style, which adherence to edges does not ask.

A linear classifier on frozen features tells the known styles apart; how often it is right of real
pictures stands beside every figure. Colours are compared as distributions, without any classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.core.errors import UserError
from sfumato.features.colour import colour_histogram
from sfumato.judge.metrics.probes import wilson


@dataclass(frozen=True)
class Style:
    """Fitted on pictures of several styles; one of them is asked for.

    Attributes:
        name: the style that is asked for.
        accuracy: share of real pictures of that style, set aside, that are told right.
        model: the classifier, of features ``(N, D)``.
        colours: mean shares of colours of real pictures, ``(512,)``.
    """

    name: str
    accuracy: float
    model: Any
    colours: np.ndarray

    def score(self, features: np.ndarray, images: np.ndarray) -> dict[str, Any]:
        """Of pictures, uint8 ``(N, H, W, 3)``, and their features: the share of the style with its 95 % interval, and how far
        their colours lie (total variation of mean shares, 0 the same, 1 nothing in common)."""
        hits = np.asarray(self.model.predict(features)) == self.name
        mean, low, high = wilson(int(hits.sum()), len(hits))
        return {
            "share": {"mean": mean, "low": low, "high": high, "n": len(hits)},
            "accuracy": self.accuracy,
            "colour_distance": float(np.abs(shares(images) - self.colours).sum() / 2),
        }


def shares(images: np.ndarray) -> np.ndarray:
    """Mean shares of pixels in a grid of RGB, ``(512,)``, sum 1."""
    found: np.ndarray = (colour_histogram(images) ** 2).mean(axis=0)
    return found


def fit_style(name: str, by_style: dict[str, np.ndarray], real: np.ndarray, images: np.ndarray, *, seed: int = 0) -> Style:
    """Fit the classifier.

    Args:
        name: the style to ask for.
        by_style: features ``(N, D)`` of real pictures of each style, that one among them.
        real, images: features and pictures of that style that were set aside.
        seed: of the solver.

    Raises:
        UserError: fewer than two styles, or not the one that is asked for.
    """
    if name not in by_style or len(by_style) < 2:
        raise UserError(f"style {name!r} among {', '.join(by_style) or 'none'}", expected="that style and others to tell it from")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300, random_state=seed))
    model.fit(np.concatenate(list(by_style.values())), np.repeat(list(by_style), [len(found) for found in by_style.values()]))
    return Style(name, float((model.predict(real) == name).mean()), model, shares(images))
