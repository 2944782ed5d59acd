"""Which of these pictures was it? A matched filter: the candidate that the record's likelihood prefers.

Noise in Stable Diffusion's range does not prevent this at real latent sizes; it is there to be reported. Source: the likelihood itself.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Candidates, Latents, Scenario
from sfumato.attacker.records._evidence import see
from sfumato.attacker.records.base import Guess, Target
from sfumato.diffusion.base import Base

DESCRIPTION = "match a record against pictures that the attacker holds"
TARGETS: tuple[Target, ...] = ("candidate",)
NEEDS: tuple[type, ...] = (Latents, Candidates, Base)
COUNT: dict[Effort, int] = {"quick": 1000, "full": 4000}


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """See the module. Scores are log-likelihoods up to a constant of each record."""
    seen, candidates = see(scenario, scenario[Base].schedule), scenario[Candidates]
    scores = -_distances(seen.x, candidates.z_0) / (2 * seen.v[:, None])
    if seen.y is not None and seen.w is not None:
        scores = scores - _distances(seen.y, candidates.c) / (2 * seen.w[:, None])
    return Guess(scores=scores, budget={"candidates": len(candidates.z_0)})


def _distances(looks: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Squared distances ``(N, M)``, in float64."""
    return torch.cdist(looks.flatten(1).double(), candidates.flatten(1).double()).square().float()
