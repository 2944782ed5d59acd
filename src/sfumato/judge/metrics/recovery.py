"""How much of a picture a guess recovers, picture by picture, and which of its attributes.

Notation: N pictures of H x W pixels; every score is ``(N,)``, so that it can be tested against a baseline's in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sfumato.core.errors import UserError
from sfumato.features.efficientnet import features
from sfumato.judge.metrics.probes import Attributes, Probes
from sfumato.judge.metrics.ssim import ssim

MAX_DB = 100.0
BETTER = {"psnr": 1, "ssim": 1, "EffLite0 distance": -1}  # 1 where more is better, -1 where less is


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of uint8 pictures ``(N, H, W, 3)`` in dB, float64 ``(N,)``; 100 for equal pictures."""
    _alike(a, b)
    error = np.square(a.astype(np.float64) - b).mean(axis=(1, 2, 3))
    decibels: np.ndarray = 10 * np.log10(255.0**2 / np.maximum(error, 255.0**2 / 10 ** (MAX_DB / 10)))
    return decibels


def perceptual_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """*EffLite0 distance*: 1 less the cosine of EfficientNet-Lite0's features at size 128.

    Never call it LPIPS, which compares several layers of other networks and is comparable with nothing here.

    Args:
        a, b: uint8 ``(N, H, W, 3)``.

    Returns:
        float64 ``(N,)``: 0 for equal pictures, at most 1 in practice, for the features are seldom negative.
    """
    _alike(a, b)
    return feature_distance(*(features(images, size=128) for images in (a, b)))


def feature_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``perceptual_distance`` of pictures whose features ``(N, D)`` are known."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    length = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosine = np.divide((x * y).sum(axis=1), length, out=np.zeros_like(length), where=length > 0)
    return np.clip(1 - cosine, 0, 2)


def scores(
    guess_images: np.ndarray, truth_images: np.ndarray, *, seen: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Every score by name, float64 ``(N,)``; ``BETTER`` says which way each is meant.

    Args:
        guess_images, truth_images: uint8 ``(N, H, W, 3)``, in the same order.
        seen: ``features`` of both at size 128, where they are known: they take most of the time.
    """
    _alike(guess_images, truth_images)
    distance = perceptual_distance(guess_images, truth_images) if seen is None else feature_distance(*seen)
    return {"psnr": psnr(guess_images, truth_images), "ssim": likeness(guess_images, truth_images), "EffLite0 distance": distance}


def likeness(guess_images: np.ndarray, truth_images: np.ndarray) -> np.ndarray:
    """SSIM of uint8 pictures ``(N, H, W, 3)``, float64 ``(N,)``."""
    a, b = (torch.tensor(images).permute(0, 3, 1, 2) for images in (guess_images, truth_images))
    found: np.ndarray = ssim(a, b).numpy()
    return found


def attribute_hits(
    probes: Probes, features: np.ndarray, attributes: Attributes, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Whether a guess shows the true value of an attribute, boolean ``(N,)`` by the attribute's name.

    Args:
        probes: fitted on public pictures, and on what the VAE makes of them where guesses come out of a VAE.
        features: ``(N, D)`` of the guesses, of the kind that the probes were fitted on.
        attributes: the N true pictures' attributes.
        names: the attributes asked for; all that there are probes for by default.
    """
    wanted = list(probes.classifiers) if names is None else list(names)
    missing = [name for name in wanted if name not in probes.classifiers]
    if missing:
        raise UserError(f"no probe for {missing[0]!r}", expected=f"one of {', '.join(probes.classifiers)}")
    if len(features) != len(attributes):
        raise UserError(f"{len(features)} guesses, {len(attributes)} descriptions", expected="as many of one as of the other")
    return {name: probes.predict(features, name) == np.array([picture[name] for picture in attributes]) for name in wanted}


def _alike(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3 or a.dtype != np.uint8 or b.dtype != np.uint8 or not len(a):
        got = f"pictures of dtypes {a.dtype} and {b.dtype}, shapes {a.shape} and {b.shape}"
        raise UserError(got, expected="uint8 of one shape (N, H, W, 3), N at least 1")
