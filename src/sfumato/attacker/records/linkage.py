"""Which of these pictures was it? The candidate that the record's likelihood prefers.

Who holds the picture (``exact``), a ``jpeg`` of it or a ``cropped`` copy compares latents: a matched filter, the likelihood where the
copy is exact. ``another`` picture of the same person has other latents, so that what it shares with the record is the person alone: it is
compared by identity, what ``direct_identity`` reads off the record with what the attacker's own head sees in the picture.
Noise in Stable Diffusion's range does not prevent the first at real latent sizes; it is there to be reported.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Candidates, Copies, Latents, Mechanism, Public, Scenario
from sfumato.attacker.records import direct_identity
from sfumato.attacker.records._evidence import TRACES, see
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

DESCRIPTION = "match a record against pictures that the attacker holds"
TARGETS: tuple[Target, ...] = ("candidate",)
NEEDS: tuple[type, ...] = (Latents, Candidates, Base)
MAY_USE: tuple[type, ...] = (*TRACES, Public, Mechanism)
COUNT: dict[Effort, int] = {"glance": 200, "quick": 1000, "full": 4000}
GLANCED = ("exact", "another")
ASKS = "direct_identity"
LIKE = ("jpeg", "cropped", "another")


VARIANTS = ("exact", *LIKE)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "exact") -> Guess:
    """See the module. Scores are log-likelihoods up to a constant of each record; of ``another``, cosines."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    candidates = scenario[Candidates]
    if variant != "exact" and variant not in candidates.like:
        raise Lacking(Candidates)
    if variant == "another":
        return _by_person(scenario, candidates.like[variant](), effort=effort, seed=seed, tell=tell)
    held = candidates if variant == "exact" else candidates.like[variant]()
    seen = see(scenario, scenario[Base].schedule)
    count = len(seen.x) if variant == "exact" else min(len(seen.x), len(held.z_0))
    scores = -_distances(seen.x[:count], held.z_0) / (2 * seen.v[:count, None])
    if seen.y is not None and seen.w is not None:
        scores = scores - _distances(seen.y[:count], held.c) / (2 * seen.w[:count, None])
    return Guess(scores=scores, budget={"variant": variant, "candidates": len(held.z_0)})


def _by_person(scenario: Scenario, held: Copies, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """How like the person that the record shows the person in each picture is."""
    if missing := scenario.lacks((Public, Mechanism)):
        raise Lacking(*missing)
    count = min(scenario[Latents].z.shape[1], len(held.images))
    said = direct_identity.run(scenario.rows(count), effort=effort, seed=seed, tell=tell)
    assert said.embeddings is not None and said.embed is not None
    scores = torch.from_numpy(said.embeddings @ said.embed(held.images).T)
    return Guess(scores=scores, curve=said.curve, budget={**said.budget, "variant": "another", "candidates": len(held.images)})


def _distances(looks: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Squared distances ``(N, M)``, in float64."""
    return torch.cdist(looks.flatten(1).double(), candidates.flatten(1).double()).square().float()
