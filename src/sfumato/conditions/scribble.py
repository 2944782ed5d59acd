"""Thick rough strokes, white on black, as a person would draw them with a felt pen."""

from __future__ import annotations

import cv2
import numpy as np

DESCRIPTION = "thick rough strokes along the strongest outlines"


def extract(image: np.ndarray, *, detail: int = 64, blur: float = 2.3, stroke: int = 3, low: float = 40, high: float = 100) -> np.ndarray:
    """Strokes of a picture: the edges of a small blurred copy, thickened, enlarged again and rounded off.

    Args:
        image: uint8 RGB ``(H, W, 3)``; not changed.
        detail: shorter side of the small copy, in pixels, so that strokes grow with the picture.
        blur: standard deviation of the blur of the small copy, in its pixels.
        stroke: odd width by which edges of the small copy are dilated, in its pixels.
        low, high: Canny's hysteresis thresholds on the small copy.

    Returns:
        uint8 ``(H, W, 3)``, 255 on strokes and 0 elsewhere.
    """
    h, w = image.shape[:2]
    share = min(1.0, detail / min(h, w))
    small = cv2.resize(image, (max(1, round(w * share)), max(1, round(h * share))), interpolation=cv2.INTER_AREA)
    edges = cv2.Canny(cv2.GaussianBlur(small, (0, 0), blur), low, high)
    thick = cv2.dilate(edges, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (stroke, stroke)))
    smooth = cv2.GaussianBlur(cv2.resize(thick, (w, h), interpolation=cv2.INTER_LINEAR), (0, 0), stroke / 2 / share)
    strokes = np.where(smooth > 110, np.uint8(255), np.uint8(0))
    return np.repeat(strokes[..., None], 3, axis=-1)
