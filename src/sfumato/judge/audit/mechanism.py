"""Try to refute a claimed guarantee: run the very mechanism on the worst pair of pictures and tell the two apart.

If a mechanism is mu-GDP, no test can have false positives f and false negatives g with ``mu < -Phi^-1(f) - Phi^-1(g)``
(Dong, Roth, Su, arXiv 1905.02383). So measured rates, at their upper confidence limits, bound mu from below. The bound fails a mechanism
with too little noise; it proves nothing about one that passes, but that it was not refuted by this pair and this test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy.special import ndtri
from scipy.stats import beta

from sfumato.accounting import accountant
from sfumato.accounting.accountant import Release
from sfumato.accounting.gaussian import epsilon
from sfumato.core.randomness import InsecureNoise
from sfumato.defences import latent_clip, sealed_noise
from sfumato.diffusion.schedule import Schedule

Mechanism = Callable[[torch.Tensor, Release, InsecureNoise], torch.Tensor]
SHAPE = (4, 1, 1)  # the guarantee does not depend on it, and small latents are drawn fast


def sealing(z_0: torch.Tensor, release: Release, noise: InsecureNoise) -> torch.Tensor:
    """What ``owner.seal`` does to latents ``(N, C, h, w)``: the same clip and the same noise, from a source that tests may repeat."""
    step = None if release.sigma == 0 else 0
    schedule = Schedule(torch.tensor([release.alpha**2 if step == 0 else 0.5], dtype=torch.float64))
    return sealed_noise.apply(latent_clip.apply(z_0, release.clip), step, schedule, noise=noise)


def audit(
    left: Sequence[Release],
    *,
    unit: str,
    insecure_seed: int,
    mechanism: Mechanism = sealing,
    draws: int = 200_000,
    confidence: float = 0.999,
    delta: float = accountant.DELTA,
) -> dict[str, Any]:
    """Bound from below what really leaves with ``left``, against what its ledger claims (replace-one).

    It sees too little noise and a missing clip. That noise is drawn anew for every picture it cannot see.

    Args:
        left: the entries of a ledger, each once: one release alone, whatever left before.
        unit: what they are of.
        insecure_seed: of the audit's own draws; nothing private is drawn.
        mechanism: what is audited; ``sealing`` by default.
        draws: of each of the two worlds.
        confidence: that the bound holds.
        delta: at which both epsilons are stated.

    Returns:
        ``auditable`` and, where it is true, the claimed and the measured mu and epsilon, and ``refuted``.
    """
    claimed = accountant.total(left)
    gaps = [release.gap for release in left if release.gap]
    if gaps:
        return {"auditable": False, "why": f"nothing is claimed ({'; '.join(gaps)})"}
    claim = epsilon(delta, claimed)
    if claim > accountant.VACUOUS:
        return {"auditable": False, "why": f"a claim above {accountant.VACUOUS:g} is vacuous, and no number of draws refutes it"}
    noise = InsecureNoise(insecure_seed)
    score = {sign: torch.zeros(draws, dtype=torch.float64) for sign in (1, -1)}
    for release in left:
        assert release.clip is not None
        u = noise.normal(SHAPE)
        u = u / u.norm()
        for sign in score:
            pair = (2 * sign * release.clip * u).expand(draws, *SHAPE).float()  # twice the clip: the clip must bring it back
            seen = mechanism(pair, release, noise)
            score[sign] += release.alpha * release.clip / release.sigma**2 * (seen * u).flatten(1).sum(1)
    wrong = [int((score[1] <= 0).sum()), int((score[-1] > 0).sum())]
    limits = [upper_limit(errors, draws, confidence=1 - (1 - confidence) / 2) for errors in wrong]
    low = max(0.0, float(-ndtri(limits[0]) - ndtri(limits[1])))
    return {
        "auditable": True,
        "unit": unit,
        "relation": "replace-one",
        "clip": {release.what: release.clip for release in left},
        "releases": 1,
        "delta": delta,
        "claimed_mu": claimed,
        "claimed_epsilon": claim,
        "measured_mu": low,
        "measured_epsilon": epsilon(delta, low),
        "refuted": low > claimed,
        "draws": draws,
        "confidence": confidence,
    }


def upper_limit(errors: int, draws: int, *, confidence: float) -> float:
    """Clopper-Pearson upper limit of an error rate."""
    return 1.0 if errors == draws else float(beta.ppf(confidence, errors + 1, draws - errors))
