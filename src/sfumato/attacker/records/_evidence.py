"""All that leaked of each latent, reduced to one noisy look at it: nothing is lost, since the noise is Gaussian.

    x = z_0 + sqrt(v) * noise      all releases of a picture, weighed by precision: 1 / v = sum alpha_k^2 / sigma_k^2
    y = c   + sqrt(w) * noise      the same of its condition

Whatever leaks in closed form is taken first: where eps travels, ``v = 0``; from the one-way scheme's ``h``, the condition.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch

from sfumato.attacker.knowledge import Conditions, Latents, Mixed, Noise, Scenario
from sfumato.diffusion.controlnet import ACTIVATIONS
from sfumato.diffusion.schedule import Schedule

TRACES: tuple[type, ...] = (Noise, Mixed, Conditions)  # what ``see`` uses beside latents where it leaked
_EXACT = 1e-6  # variance of what is known in closed form: fp16 rounding, no more


@dataclass(frozen=True, eq=False)
class Evidence:
    """``x``, ``y`` ``(N, 4, h, w)`` and variances ``v``, ``w`` ``(N,)`` of their noise; ``y``, ``w`` are None where no condition leaked."""

    x: torch.Tensor
    v: torch.Tensor
    y: torch.Tensor | None
    w: torch.Tensor | None


def see(scenario: Scenario, schedule: Schedule) -> Evidence:
    """The evidence in a scenario that grants ``Latents``."""
    latents, noise = scenario[Latents], scenario.get(Noise)
    mixed, conditions = scenario.get(Mixed), scenario.get(Conditions)
    x, v = pooled(latents.z, latents.n, schedule)
    if noise is not None:
        alpha, sigma = (f(latents.n).to(latents.z).view(*latents.n.shape, 1, 1, 1) for f in (schedule.alpha, schedule.sigma))
        # Late steps leave little of the picture to divide by: the best release has the least rounding in it.
        weight = alpha**2 / (alpha**2).sum(0)
        x, v = (weight * (latents.z - sigma * noise.eps) / alpha).sum(0), torch.full_like(v, _EXACT)
    y = w = None
    if mixed is not None:
        y = unmixed(mixed, latents.z)
        w = torch.full_like(v, _EXACT)
    elif conditions is not None:
        y, w = pooled(conditions.c, conditions.m, schedule)
    return Evidence(x, v, y, w)


def pooled(z: torch.Tensor, n: torch.Tensor, schedule: Schedule) -> tuple[torch.Tensor, torch.Tensor]:
    """K releases ``(K, N, ...)`` at steps ``(K, N)`` as one look: what each implies, weighed by precision, and its variance ``(N,)``."""
    alpha, sigma = schedule.alpha(n), schedule.sigma(n)
    precision = alpha**2 / (sigma**2).clamp(min=_EXACT)
    total = precision.sum(0)
    weight = (precision / total / alpha).to(z).view(*n.shape, 1, 1, 1)
    return (weight * z).sum(0), (1 / total).float()


def unmixed(mixed: Mixed, z_t: torch.Tensor) -> torch.Tensor:
    """``c = f^-1(h) - z_t`` ``(N, 4, h, w)``; where f is flat, rounding swallows most, so releases weigh by the square of its slope."""
    f = ACTIVATIONS[mixed.activation]
    total = _table(mixed.activation)[mixed.h.half().view(torch.int16).long() & 0xFFFF]  # h travels in half precision
    step = 1e-3
    slope = (f(total + step) - f(total - step)) / (2 * step)
    weight = slope**2 / (mixed.h.float().abs() + 1e-3) ** 2 + 1e-9  # fp16 rounds in proportion
    return (weight * (total - z_t)).sum(0) / weight.sum(0)


@lru_cache
def _table(activation: str) -> torch.Tensor:
    """``f^-1`` of every half-precision number by its bits, float32 ``(65536,)``; 0 for those that are not finite."""
    every = torch.arange(2**16).to(torch.int16).view(torch.float16).float()
    return inverse(every.where(every.isfinite(), 0), activation)


def inverse(h: torch.Tensor, activation: str, *, rounds: int = 60) -> torch.Tensor:
    """``f^-1(h)`` of a strictly increasing activation, by bisection: any shape."""
    f = ACTIVATIONS[activation]
    high = h.abs().double().amax().clamp(min=1) * 2 + 4
    low, high = -high.expand_as(h).clone(), high.expand_as(h).clone()
    for _ in range(rounds):
        middle = (low + high) / 2
        below = f(middle) < h
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).to(h)


def names(seen: Evidence) -> list[bytes]:
    """What tells one record's evidence from another's, so that what was made of a record can be kept for who asks again."""
    parts = [part.numpy() for part in (seen.x, seen.v, seen.y, seen.w) if part is not None]
    return [hashlib.sha256(b"".join(part[row].tobytes() for part in parts)).digest() for row in range(len(seen.x))]


def step_of(v: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """The step ``(N,)`` whose noise-to-signal ratio ``sigma^2 / alpha^2`` is just not below each of ``v`` ``(N,)``."""
    every = torch.arange(schedule.steps)
    ratio = (schedule.sigma(every) / schedule.alpha(every)) ** 2
    return torch.searchsorted(ratio, v.double()).clamp(max=schedule.steps - 1)


def groups(*variances: torch.Tensor) -> list[torch.Tensor]:
    """The rows that share all ``variances``, each ``(N,)``, group by group."""
    kinds, member = torch.stack(variances, dim=1).unique(dim=0, return_inverse=True)
    return [(member == k).nonzero()[:, 0] for k in range(len(kinds))]
