"""Gaussian differential privacy in float64 and log space.

One release of ``alpha_n z_0 + sigma_n eps`` with ``||z_0|| <= C`` is mu-GDP with
``mu = alpha_n Delta / sigma_n``: ``Delta = 2 C`` when one picture may replace another, ``C`` when
it may be zeroed out. Releases compose as ``mu^2 = sum mu_i^2``. ``delta(epsilon) = Phi(mu/2 -
epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)`` (Balle and Wang, arXiv 1805.06530).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from sfumato.core.errors import UserError

RELATIONS = {"replace-one": 2.0, "zero-out": 1.0}


def sensitivity(clip: float, relation: str) -> float:
    """``Delta``: how far apart two neighbours can lie when every latent has norm ``clip`` at most.

    Add-or-remove is no relation here: the number of records is public.
    """
    if not 0 < clip < math.inf:
        raise UserError(f"clip {clip}; expected a positive bound: without one there is no guarantee")
    if relation not in RELATIONS:
        raise UserError(f"relation {relation!r}; expected {' or '.join(RELATIONS)}")
    return RELATIONS[relation] * clip


def mu(alpha: float, sigma: float, delta_norm: float) -> float:
    """``alpha * Delta / sigma``; infinite where nothing is noised."""
    return math.inf if sigma == 0 else alpha * delta_norm / sigma


def compose(mus: Iterable[float]) -> float:
    """``sqrt(sum mu_i^2)``."""
    return math.sqrt(sum(m * m for m in mus))


def person(mu: float, pictures: int) -> float:
    """mu of somebody with ``pictures`` records, all of them replaced (or zeroed) at once:
    ``mu sqrt(k)``."""
    if pictures < 1:
        raise UserError(f"{pictures} pictures; a person has at least 1")
    return mu * math.sqrt(pictures)


def log_delta(epsilon: float, mu: float) -> float:
    """Natural logarithm of the smallest delta at which a mu-GDP mechanism is (epsilon,
    delta)-private."""
    if mu == 0:
        return -math.inf
    if epsilon == 0:  # the same, without the difference of two numbers that are nearly equal
        return math.log(math.erf(mu / math.sqrt(8))) if mu > 1e-300 else -math.inf
    first, second = (float(log_ndtr(sign * mu / 2 - epsilon / mu)) for sign in (1, -1))
    gap = epsilon + second - first  # < 0
    return first + math.log(-math.expm1(gap)) if gap < 0 else -math.inf


def delta(epsilon: float, mu: float) -> float:
    """The smallest delta at which a mu-GDP mechanism is (epsilon, delta)-private."""
    return math.exp(log_delta(epsilon, mu))


def epsilon(delta: float, mu: float) -> float:
    """The smallest epsilon >= 0 at ``delta``; infinite for an infinite mu."""
    if not 0 < delta < 1:
        raise UserError(f"delta {delta} must lie in (0, 1)")
    if math.isinf(mu):
        return math.inf
    target = math.log(delta)
    if mu == 0 or log_delta(0.0, mu) <= target:
        return 0.0
    high = mu * mu / 2 + mu * math.sqrt(2 * -target) + 1
    return float(brentq(lambda e: log_delta(e, mu) - target, 0.0, high, xtol=1e-12, rtol=1e-14))


def first_step(
    alphas: Sequence[float], sigmas: Sequence[float], *, delta_norm: float, target: float, delta: float, releases: int = 1
) -> int | None:
    """The inverse problem: the first step of a schedule at which ``releases`` releases together
    stay within ``target``.

    Args:
        alphas, sigmas: of the schedule, one for each step.
        delta_norm: ``Delta``, as ``sensitivity`` gives it.
        target: the epsilon to be kept.
        delta: at which it is meant.
        releases: how many times the same picture is released at that step.

    Returns:
        The step, or ``None``: no step of this schedule is noisy enough.
    """
    if releases < 1:
        raise UserError(f"{releases} releases; expected at least one")
    budget = target_mu(target, delta)
    each = [mu(a, s, delta_norm) * math.sqrt(releases) for a, s in zip(alphas, sigmas, strict=True)]
    return next((step for step, value in enumerate(each) if value <= budget), None)


def target_mu(epsilon: float, delta: float) -> float:
    """The largest mu that is (epsilon, delta)-private."""
    if not 0 <= epsilon < math.inf:
        raise UserError(f"target epsilon {epsilon}; expected a number >= 0")
    if not 0 < delta < 1:
        raise UserError(f"delta {delta} must lie in (0, 1)")
    target, low, high = math.log(delta), 1.0, 1.0
    while log_delta(epsilon, high) < target:
        high *= 2
    while log_delta(epsilon, low) > target:
        low /= 2
    return float(brentq(lambda m: log_delta(epsilon, m) - target, low, high, xtol=1e-300, rtol=1e-14, maxiter=500))


def identification(candidates: float, mu: float) -> float:
    """How often, at most, somebody picks the right one of ``candidates`` equally likely ones.

    ``Phi(Phi^-1(1 / M) + mu)``. Whoever guesses has seen a mu-GDP release of the right one, and may
    know everything else: the mechanism, the candidates, and all other people's data. For every
    candidate compare the release with one that holds none of them (or some fixed one): there every
    guess is right 1 time in M in the mean, and the trade-off function of mu-GDP, which is concave,
    says how much more often it can be right where the candidate is in it. Reconstruction
    robustness: Balle, Cherubin and Hayes, arXiv 2201.04845; Hayes, Mahloujifar and Balle, arXiv
    2302.07225.

    Gaussian noise attains it for two candidates that lie opposite to one another; for more of them
    the best guess there is does less well.

    Args:
        candidates: M, at least 1.
        mu: of what was released, for the unit that is to be identified; 0 or more. Infinite gives
            1.

    Raises:
        UserError: no such number of candidates, or no such mu.
    """
    if not 1 <= candidates < math.inf:
        raise UserError(f"{candidates} candidates", expected="a number of them, at least 1")
    if not mu >= 0:
        raise UserError(f"mu {mu}", expected="a number >= 0")
    return 1.0 if math.isinf(mu) else float(ndtr(ndtri(1 / candidates) + mu))
