"""What a comparison says of pictures beside A: their style, whether they follow their prompts, their distance from real ones.

All of it is fitted on public pools, and stands beside what it says of real pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sfumato.features.colour import colour_histogram
from sfumato.features.efficientnet import features
from sfumato.judge.metrics.frechet import frechet_distance
from sfumato.judge.metrics.probes import Probes, background_agreement, fit_probes, wilson
from sfumato.judge.metrics.style import fit_style
from sfumato.pictures import store

PUBLIC_STYLES = ("open-peeps", "adventurer", "big-ears")  # what anybody could have, the base's own first; of nobody's domain
SHOWN = 300  # public pictures of each style that the classifier of styles sees
PROBED = 1200  # and of one style, that probes of its attributes see


def public_pictures(count: int, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the arm ``public``: ``count`` pictures of the base's own style, or of ``styles`` public ones, as many of each."""
    styles = PUBLIC_STYLES[: int(options.get("styles", 1))]
    sets = [
        store.load(style, "public", count // len(styles) + (number < count % len(styles)), seed=seed + 1, per_identity=4)
        for number, style in enumerate(styles)
    ]
    pictures = {"images": np.concatenate([found.images for found in sets]), "captions": [c for found in sets for c in found.captions]}
    return {**pictures, **{name: value for name, value in options.items() if name != "styles"}}


class Judge:
    """Style and prompt agreement, and the Fréchet distance where it is asked for: fitted on the public pools of the styles."""

    def __init__(self, style: str, count: int, *, seed: int, frechet: bool = False) -> None:
        self.frechet = frechet
        self.asked = store.load(style, "held_out", count, seed=seed + 2)
        self.probes: Probes | None = None
        public = {name: store.load(name, "public", SHOWN, seed=seed + 3) for name in (*PUBLIC_STYLES, style)}
        self.other = store.load(style, "held_out", count, seed=seed + 4)
        self.real = features(self.other.images, size=128)
        seen = {name: features(found.images, size=128) for name, found in public.items()}
        self.style = fit_style(style, seen, self.real, self.other.images)
        if style != store.FILL50K:
            more = store.load(style, "public", PROBED, seed=seed + 3)
            self.probes = fit_probes(_seen(more.images), more.attributes, ["skin", "hair"])

    def __call__(self, made: np.ndarray) -> dict[str, Any]:
        described = features(made, size=128)
        found: dict[str, Any] = {"style": self.style.score(described, made)}
        if self.probes is not None:
            wanted = [a["background"] for a in self.asked.attributes]
            hits = background_agreement(made, wanted)
            seen = _seen(made, described)
            shown = {"background": wilson(int(hits.sum()), len(hits)), **self.probes.accuracy(seen, self.asked.attributes)}
            found["prompt_agreement"] = {
                name: {"mean": mean, "low": low, "high": high, "n": len(made)} for name, (mean, low, high) in shown.items()
            }
        if self.frechet:
            found["fd_efflite0"] = {"value": frechet_distance(described, self.real), "n": len(made)}
        return found


def _seen(images: np.ndarray, described: np.ndarray | None = None) -> np.ndarray:
    """What probes see of pictures: features, where they are not there yet, and colours."""
    return np.hstack([features(images, size=128) if described is None else described, colour_histogram(images)])


def nothing_more(made: np.ndarray) -> dict[str, Any]:
    """Of pictures of any kind nothing is known but whether they follow their conditions."""
    return {}
