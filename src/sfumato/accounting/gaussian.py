"""Gaussian differential privacy in float64 and log space.

One release of ``alpha_n z_0 + sigma_n eps`` with ``||z_0|| <= C`` is mu-GDP with ``mu = alpha_n Delta / sigma_n``: ``Delta = 2 C``
when one picture may replace another, ``C`` when it may be zeroed out. Releases compose as ``mu^2 = sum mu_i^2``.
``delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)`` (Balle and Wang, arXiv 1805.06530).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from scipy.optimize import brentq
from scipy.special import log_ndtr


def mu(alpha: float, sigma: float, delta_norm: float) -> float:
    """``alpha * Delta / sigma``; infinite where nothing is noised."""
    return math.inf if sigma == 0 else alpha * delta_norm / sigma


def compose(mus: Iterable[float]) -> float:
    """``sqrt(sum mu_i^2)``."""
    return math.sqrt(sum(m * m for m in mus))


def log_delta(epsilon: float, mu: float) -> float:
    """Natural logarithm of the smallest delta at which a mu-GDP mechanism is (epsilon, delta)-private."""
    if mu == 0:
        return -math.inf
    first, second = (float(log_ndtr(sign * mu / 2 - epsilon / mu)) for sign in (1, -1))
    gap = epsilon + second - first  # < 0
    return first + math.log(-math.expm1(gap)) if gap < 0 else -math.inf


def epsilon(delta: float, mu: float) -> float:
    """The smallest epsilon >= 0 at ``delta``; infinite for an infinite mu."""
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta} must lie in (0, 1)")
    if math.isinf(mu):
        return math.inf
    target = math.log(delta)
    if mu == 0 or log_delta(0.0, mu) <= target:
        return 0.0
    high = mu * mu / 2 + mu * math.sqrt(2 * -target) + 1
    return float(brentq(lambda e: log_delta(e, mu) - target, 0.0, high, xtol=1e-12, rtol=1e-14))
