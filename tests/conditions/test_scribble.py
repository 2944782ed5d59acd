from __future__ import annotations

import numpy as np

from sfumato.conditions import canny, scribble
from sfumato.pictures import avatars


def _flips(condition: np.ndarray) -> int:
    """Changes between black and white along rows: how much detail there is."""
    return int((np.diff(condition[..., 0].astype(int), axis=1) != 0).sum())


def test_strokes_are_coarser_than_canny() -> None:
    images = [avatars.picture("open-peeps", "public", i, seed=0).image for i in range(8)]
    thin, thick = [canny.extract(i) for i in images], [scribble.extract(i) for i in images]
    assert sum(map(_flips, thick)) < 0.6 * sum(map(_flips, thin))


def test_strokes_are_thick() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    assert (scribble.extract(image)[32, :, 0] > 0).sum() >= 3


def test_strokes_grow_with_the_picture() -> None:
    small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((256, 256, 3), np.uint8)
    small[:, 32:], large[:, 128:] = 255, 255
    assert (scribble.extract(large)[128] > 0).sum() > (scribble.extract(small)[32] > 0).sum()


def test_settings_are_used() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not np.array_equal(scribble.extract(image), scribble.extract(image, low=1, high=2))
