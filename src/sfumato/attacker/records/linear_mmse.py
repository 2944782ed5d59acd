"""The best linear estimate of picture and condition from all that leaked of both, under a Gaussian prior fitted on public pictures.

What every "reconstruction" must beat: it knows the mechanism and the public's mean and covariance, and no more.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Public, Scenario
from sfumato.attacker.records._evidence import TRACES, Evidence, groups, see
from sfumato.attacker.records._once import Once
from sfumato.attacker.records.base import Guess, Target
from sfumato.diffusion.base import Base

DESCRIPTION = "best linear estimate under a Gaussian prior of public pictures"
TARGETS: tuple[Target, ...] = ("picture", "condition", "person")
NEEDS: tuple[type, ...] = (Latents, Public, Base)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"glance": 200, "quick": 1000, "full": 4000}

_fitted: Once[tuple[torch.Tensor, torch.Tensor]] = Once()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Estimate ``z_0`` and ``c`` of every record, linearly, from what leaked of both."""
    public = scenario[Public]
    z_0, c = estimate(see(scenario, scenario[Base].schedule), public, tell=tell)
    return Guess(z_0=z_0, c=c, budget={"public pictures": len(public.z_0)})


def estimate(seen: Evidence, public: Public, *, tell: Tell = lambda done, total: None) -> tuple[torch.Tensor, torch.Tensor]:
    """``E[z_0 | x, y]`` and ``E[c | x, y]`` ``(N, 4, h, w)``, were picture and condition jointly Gaussian.

    The covariance is shrunk towards its diagonal by the share that leave-out formulae (Ledoit and Wolf 2004) ask for.
    """
    n, shape = len(seen.x), seen.x.shape[1:]
    mean, covariance = _fitted(public, None, lambda: _prior(public))
    found = torch.empty((n, len(mean)), dtype=torch.float64)
    d, done = seen.x[0].numel(), 0
    for rows in groups(torch.zeros(n) if seen.w is None else seen.w):
        known, left = mean.expand(len(rows), -1), covariance
        if seen.y is not None and seen.w is not None:  # first the condition, whose noise all of these share
            noisy = covariance[d:, d:] + float(seen.w[rows[0]]) * torch.eye(len(mean) - d, dtype=torch.float64)
            gain = torch.linalg.solve(noisy, covariance[d:])
            known, left = mean + (seen.y[rows].flatten(1) - mean[d:]) @ gain, covariance - covariance[:, d:] @ gain
        values, axes = torch.linalg.eigh(left[:d, :d])  # then the picture: along these axes every amount of noise is one division
        surprise = (seen.x[rows].flatten(1).double() - known[:, :d]) @ axes
        found[rows] = known + surprise / (values.clamp(min=0) + seen.v[rows].double()[:, None]) @ (axes.T @ left[:d])
        tell(done := done + len(rows), n)
    z_0, c = (part.reshape(n, *shape).float() for part in (found[:, :d], found[:, d:]))
    return z_0, c


def _prior(public: Public) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(D,)`` and covariance ``(D, D)`` of public pictures and conditions together, float64; every attack asks for the same."""
    joint = torch.cat([public.z_0.flatten(1), public.c.flatten(1)], dim=1).double()
    return joint.mean(0), shrunk(joint)


def shrunk(rows: torch.Tensor) -> torch.Tensor:
    """Covariance ``(D, D)`` of ``rows`` ``(P, D)`` float64, shrunk towards its own diagonal."""
    p = len(rows)
    centred = rows - rows.mean(0)
    sample = centred.T @ centred / p
    squares = centred**2
    variance = ((squares.T @ squares) / p - sample**2).clamp(min=0) / p  # of each entry of the sample covariance
    off = ~torch.eye(len(sample), dtype=torch.bool)
    share = float((variance[off].sum() / (sample[off] ** 2).sum().clamp(min=1e-30)).clamp(0, 1)) if p > 1 else 1.0
    return torch.where(off, (1 - share) * sample, sample + 1e-6)
