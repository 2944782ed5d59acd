"""Fréchet distance between two sets of features.

On features of ``features.efficientnet`` this is *FD-EffLite0*: never call it FID, which is defined on Inception
features and comparable with nothing here. It is biased upwards for few pictures (the more so below some thousands), so
always give it beside the distance of two disjoint real sets of the same size.
"""

from __future__ import annotations

import numpy as np

from sfumato.core.errors import UserError


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """``|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, in float64.

    ``tr (C_a C_b)^(1/2)`` is the sum of the square roots of the eigenvalues of ``C_a^(1/2) C_b C_a^(1/2)``, which is
    symmetric: no complex square root, and singular covariances do no harm.

    Args:
        a, b: features ``(N_a, D)`` and ``(N_b, D)``, at least two rows each.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise UserError(f"features of shapes {a.shape} and {b.shape}", expected="(N_a, D) and (N_b, D), at least two pictures each")
    a, b = a.astype(np.float64), b.astype(np.float64)
    shift = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root_a = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    crossed = root_a @ cov_b @ root_a
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh((crossed + crossed.T) / 2), 0, None)).sum()
    return float(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap)
