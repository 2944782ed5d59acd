"""Fill50K, made anew: a thin white circle on black is the condition, the filled circle on a ground the picture."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw

SIZE = 64
_SUPERSAMPLE = 4
# CSS names as words. A fixed split, so that captions do not depend on a word list found at run time.
_PREFIXES = ("alice", "antique", "blanched", "blue", "burly", "cadet", "corn", "dark", "deep", "dim", "dodger", "fire",
             "floral", "forest", "gains", "ghost", "golden", "green", "honey", "hot", "indian", "lavender", "lawn", "lemon",
             "light", "lime", "medium", "midnight", "mint", "misty", "navajo", "old", "olive", "orange", "pale", "papaya",
             "peach", "powder", "rebecca", "rosy", "royal", "saddle", "sandy", "sea", "sky", "slate", "spring", "steel",
             "violet", "white", "yellow", "rod", "shell", "smoke")  # fmt: skip
_WHOLE = {"burlywood": "burly wood", "cornsilk": "corn silk", "gainsboro": "gainsboro", "honeydew": "honey dew",
          "limegreen": "lime green", "seashell": "sea shell", "whitesmoke": "white smoke", "orangered": "orange red",
          "goldenrod": "golden rod", "blueviolet": "blue violet", "cornflowerblue": "cornflower blue",
          "greenyellow": "green yellow", "olivedrab": "olive drab",
          "palegoldenrod": "pale golden rod", "darkgoldenrod": "dark golden rod",
          "lightgoldenrodyellow": "light golden rod yellow", "lavenderblush": "lavender blush"}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """``image`` and ``condition`` uint8 ``(size, size, 3)`` with the caption that names both colours.

    ``circle`` and ``ground`` are the colours' CSS names.
    """

    image: np.ndarray
    condition: np.ndarray
    caption: str
    circle: str
    ground: str


def colour_words(name: str) -> str:
    """Split a CSS colour name into words: ``palegoldenrod`` -> ``pale golden rod``."""
    if name in _WHOLE:
        return _WHOLE[name]
    for prefix in sorted(_PREFIXES, key=len, reverse=True):
        if name.startswith(prefix) and len(name) > len(prefix):
            return f"{prefix} {colour_words(name[len(prefix) :])}"
    return name


def shape(index: int, *, seed: int | str, size: int = SIZE) -> Shape:
    """Picture ``index`` of the endless, deterministic stream ``seed``."""
    rng = random.Random(f"{seed}/fill50k/{index}")
    front, ground = rng.sample(sorted(ImageColor.colormap), 2)
    big = size * _SUPERSAMPLE
    radius = rng.uniform(0.12, 0.4) * big
    x, y = (rng.uniform(radius * 0.9, big - radius * 0.9) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)

    picture = Image.new("RGB", (big, big), ground)
    ImageDraw.Draw(picture).ellipse(box, fill=front)
    outline = Image.new("RGB", (big, big), "black")
    ImageDraw.Draw(outline).ellipse(box, outline="white", width=_SUPERSAMPLE)
    shrunk = [np.asarray(p.resize((size, size), Image.Resampling.BOX)) for p in (picture, outline)]
    return Shape(shrunk[0], shrunk[1], f"{colour_words(front)} circle with {colour_words(ground)} background", front, ground)
