"""How well pictures follow their condition: edge F1, corrected for chance and for the VAE's own loss.

``A = (F1 - F1_shuffled) / (F1_VAE - F1_shuffled)``: 0 is what unrelated pictures reach, 1 the most that the VAE lets
through. ``F1_shuffled`` scores the same pictures against another held-out condition. Notation: N pictures, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sfumato.core import registry
from sfumato.core.errors import UserError

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Adherence:
    """Chance-corrected adherence ``mean`` with its 95 % interval, over ``n`` pictures, and the means it is made of."""

    mean: float
    low: float
    high: float
    n: int
    f1: float
    f1_shuffled: float
    f1_vae: float


def edges_of(images: np.ndarray, condition: str = "canny") -> np.ndarray:
    """Edge pixels of ``images`` uint8 ``(N, H, W, 3)``, boolean ``(N, H, W)``, by a registered condition extractor."""
    extract = registry.get("conditions", condition).extract
    edges = [extract(image).max(axis=-1) > 127 for image in images]
    return np.stack(edges) if edges else np.zeros(images.shape[:3], bool)


def edge_f1(edges_true: np.ndarray, edges_found: np.ndarray) -> np.ndarray:
    """F1 of edges, forgiving one pixel in every direction.

    Precision is the share of found edge pixels within the dilated truth, recall the share of true ones within the
    dilated find. Two empty maps score 1, one empty map 0.

    Args:
        edges_true, edges_found: boolean ``(N, H, W)``.

    Returns:
        float64 ``(N,)`` in [0, 1].
    """
    if edges_true.shape != edges_found.shape or edges_true.ndim != 3:
        raise UserError(f"edge maps of shapes {edges_true.shape} and {edges_found.shape}", expected="two of the same shape (N, H, W)")
    precision, recall = _covered(edges_found, edges_true), _covered(edges_true, edges_found)
    total = precision + recall
    f1: np.ndarray = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    f1[~edges_true.any(axis=(1, 2)) & ~edges_found.any(axis=(1, 2))] = 1.0
    return f1


def shuffled_f1(edges_true: np.ndarray, edges_found: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """The F1 that chance gives: every picture against the condition of another one.

    Args:
        edges_true, edges_found: boolean ``(N, H, W)``, at least two.
        generator: draws who is compared with whom (one cycle through all pictures, so nobody with themselves).

    Returns:
        float64 ``(N,)``, in the order of ``edges_found``.
    """
    n = len(edges_true)
    if n < 2:
        raise UserError(f"{n} picture(s)", expected="at least two, to compare with another's condition")
    order = generator.permutation(n)
    other = np.empty(n, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return edge_f1(edges_true[other], edges_found)


def adherence(
    f1: np.ndarray, f1_shuffled: np.ndarray, f1_vae: np.ndarray, *, generator: np.random.Generator, resamples: int = 2000
) -> Adherence:
    """Chance-corrected adherence, with a paired bootstrap over pictures.

    Args:
        f1, f1_shuffled, f1_vae: the same N pictures' scores, ``(N,)`` each.
        generator: draws the bootstrap.
        resamples: bootstrap resamples.
    """
    _paired(f1, f1_shuffled, f1_vae)
    scores = np.stack([f1, f1_shuffled, f1_vae])

    def corrected(means: np.ndarray) -> np.ndarray:
        return _quotient(means[0] - means[1], means[2] - means[1])

    mean, low, high = _bootstrap(scores, corrected, generator=generator, resamples=resamples)
    return Adherence(mean, low, high, len(f1), *(float(m) for m in scores.mean(axis=1)))


def ratio(
    f1_a: np.ndarray,
    shuffled_a: np.ndarray,
    f1_b: np.ndarray,
    shuffled_b: np.ndarray,
    *,
    f1_vae: np.ndarray,
    generator: np.random.Generator,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """``A_a / A_b`` of two arms on the same N conditions: mean and 95 % interval of a paired bootstrap.

    Args:
        f1_a, shuffled_a, f1_b, shuffled_b, f1_vae: scores ``(N,)``, in the same order of conditions.
        generator: draws the bootstrap.
        resamples: bootstrap resamples.
    """
    _paired(f1_a, shuffled_a, f1_b, shuffled_b, f1_vae)

    def quotient(means: np.ndarray) -> np.ndarray:
        a, chance_a, b, chance_b, vae = means
        return _quotient(_quotient(a - chance_a, vae - chance_a), _quotient(b - chance_b, vae - chance_b))

    return _bootstrap(np.stack([f1_a, shuffled_a, f1_b, shuffled_b, f1_vae]), quotient, generator=generator, resamples=resamples)


def _covered(edges: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Share of ``edges`` within one pixel of ``by``, per picture; 0 where there are none."""
    near = np.stack([cv2.dilate(b.astype(np.uint8), _NEIGHBOURS) > 0 for b in by]) if len(by) else by
    hits, total = (edges & near).sum(axis=(1, 2)), edges.sum(axis=(1, 2))
    share: np.ndarray = np.divide(hits, total, out=np.zeros(len(edges)), where=total > 0)
    return share


def _bootstrap(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, generator: np.random.Generator, resamples: int
) -> tuple[float, float, float]:
    """``statistic`` of the means of ``scores`` ``(K, N)``, and its 2.5 and 97.5 % percentiles over resampled pictures."""
    n = scores.shape[1]
    means = np.stack([scores[:, generator.integers(n, size=n)].mean(axis=1) for _ in range(resamples)], axis=1)
    low, high = np.nanpercentile(statistic(means), [2.5, 97.5])
    return float(statistic(scores.mean(axis=1))), float(low), float(high)


def _quotient(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """``top / bottom``, and nan where the denominator vanishes: no room between chance and ceiling."""
    bottom = np.asarray(bottom, dtype=np.float64)
    quotient: np.ndarray = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=np.abs(bottom) > 1e-12)
    return quotient


def _paired(*scores: np.ndarray) -> None:
    if len({s.shape for s in scores}) != 1 or scores[0].ndim != 1 or not len(scores[0]):
        raise UserError(f"scores of shapes {[s.shape for s in scores]}", expected="the same pictures' scores, (N,) each, in the same order")
