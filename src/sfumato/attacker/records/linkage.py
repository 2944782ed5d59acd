"""Which of these pictures was it? A matched filter: the candidate that the record's likelihood prefers.

Noise in Stable Diffusion's range does not prevent this at real latent sizes; it is there to be reported. Source: the likelihood itself.
Variants: who holds the picture (``exact``), a ``jpeg`` of it, a ``cropped`` copy, or ``another`` picture of the same person.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Candidates, Latents, Scenario
from sfumato.attacker.records._evidence import TRACES, see
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

DESCRIPTION = "match a record against pictures that the attacker holds"
TARGETS: tuple[Target, ...] = ("candidate",)
NEEDS: tuple[type, ...] = (Latents, Candidates, Base)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"quick": 1000, "full": 4000}
LIKE = ("jpeg", "cropped", "another")


VARIANTS = ("exact", *LIKE)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "exact") -> Guess:
    """See the module. Scores are log-likelihoods up to a constant of each record."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    seen, candidates = see(scenario, scenario[Base].schedule), scenario[Candidates]
    if variant == "exact":
        z_0, c = candidates.z_0, candidates.c
    elif variant in candidates.like:
        held = candidates.like[variant]()
        z_0, c = held.z_0, held.c
    else:
        raise Lacking(Candidates)
    count = len(seen.x) if variant == "exact" else min(len(seen.x), len(z_0))
    scores = -_distances(seen.x[:count], z_0) / (2 * seen.v[:count, None])
    if seen.y is not None and seen.w is not None:
        scores = scores - _distances(seen.y[:count], c) / (2 * seen.w[:count, None])
    return Guess(scores=scores, budget={"variant": variant, "candidates": len(z_0)})


def _distances(looks: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Squared distances ``(N, M)``, in float64."""
    return torch.cdist(looks.flatten(1).double(), candidates.flatten(1).double()).square().float()
