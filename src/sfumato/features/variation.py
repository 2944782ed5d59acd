"""Variations of pictures: bent, of other colours, of thicker or thinner lines. They cost nobody anything.

Whoever holds pixels can train on variations of them, and a condition is then found in the variation, so
that a pair stays a pair. Which kinds help depends on the pictures: bent circles are circles no more.
Choose by public pictures, never by the private ones that judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from sfumato.core.errors import UserError

CORNER = 7 / 64  # standard deviation by which a corner moves, as a share of the side
BEND = 5 / 64  # and a point of the plane, at most
Draws = np.random.Generator


def vary(images: np.ndarray, kinds: Sequence[str] = (), *, seed: int, strength: float = 1.0) -> np.ndarray:
    """A variation of each picture, uint8 ``(N, H, W, 3)``; each is drawn by ``seed`` and its place alone.

    Args:
        images: uint8 RGB ``(N, H, W, 3)``.
        kinds: some of ``KINDS``, done in their order there; none for all.
        seed: of the draws.
        strength: 1 for what was measured, 0 for the pictures as they are.

    Raises:
        UserError: an unknown kind, or a negative strength.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not 0 <= strength < np.inf:
        raise UserError(
            f"variation {unknown[0]!r}" if unknown else f"strength {strength}",
            expected=f"some of {', '.join(KINDS)}" if unknown else "a number from 0 up",
        )
    chosen = [change for name, change in KINDS.items() if name in kinds or not kinds]
    varied = images.copy()
    if strength == 0:
        return varied
    for number, image in enumerate(images):
        draws = np.random.default_rng([seed, number])
        for change in chosen:
            image = change(image, draws, strength)
        varied[number] = image
    return varied


def _warp(image: np.ndarray, draws: Draws, strength: float) -> np.ndarray:
    """Seen from elsewhere: every corner moves by a Gaussian step."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    moved = (corners + draws.normal(0, strength * CORNER * width, (4, 2))).astype(np.float32)
    how = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(cv2.warpPerspective(image, how, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _elastic(image: np.ndarray, draws: Draws, strength: float) -> np.ndarray:
    """Bent: points move along a smooth random field."""
    height, width = image.shape[:2]
    field = cv2.GaussianBlur(draws.uniform(-1, 1, (height, width, 2)).astype(np.float32), (0, 0), width / 10)
    field *= strength * BEND * width / max(float(np.abs(field).max()), 1e-6)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _hue(image: np.ndarray, draws: Draws, strength: float) -> np.ndarray:
    """All hues turned by one angle; greys stay grey."""
    angle = int(draws.integers(-128, 128) * min(strength, 1.0))
    if angle == 0:
        return image  # there and back again colours are rounded
    turned = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    turned[..., 0] = (turned[..., 0].astype(int) + angle) % 256
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL))


def _line(image: np.ndarray, draws: Draws, strength: float) -> np.ndarray:
    """Dark lines thicker or thinner, or as they are."""
    width = round(strength)
    change = draws.integers(-width, width + 1)
    if change == 0:
        return image
    shape = np.ones((1 + abs(change),) * 2, np.uint8)
    return np.asarray((cv2.erode if change > 0 else cv2.dilate)(image, shape))


KINDS: dict[str, Callable[[np.ndarray, Draws, float], np.ndarray]] = {
    "warp": _warp,
    "elastic": _elastic,
    "hue": _hue,
    "line": _line,
}


def kinds_of(words: str) -> tuple[str, ...]:
    """Kinds as an option names them: ``all``, or some joined by ``+``. Raises UserError for others."""
    kinds = tuple(KINDS) if words == "all" else tuple(words.split("+"))
    vary(np.zeros((0, 1, 1, 3), np.uint8), kinds, seed=0)
    return kinds
