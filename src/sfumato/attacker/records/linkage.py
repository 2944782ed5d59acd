"""Which of these pictures was it? The candidate that the record's likelihood prefers.

Who holds the picture (``exact``) or a ``jpeg`` of it compares latents: a matched filter, the likelihood itself where the copy is exact.
Of a ``cropped`` copy nobody knows what was cut off: the likelihood is that of the best of several guesses, each the copy made as much
smaller, with its edge drawn outwards. ``another`` picture of the same person has other latents, so that what it shares with the record is
the person alone: it is compared by identity, what ``direct_identity`` reads off the record with what the attacker's own head sees in it.
Noise in Stable Diffusion's range does not prevent the first at real latent sizes; it is there to be reported.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Candidates, Copies, Latents, Mechanism, Public, Scenario
from sfumato.attacker.records import direct_identity
from sfumato.attacker.records._evidence import TRACES, Evidence, see
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
KEPT = (0.95, 0.9, 0.85)  # shares of each side that a crop may have left, beside all of it

VARIANTS = ("exact", *LIKE)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "exact") -> Guess:
    """Score every candidate against every record, ``(N, M)``; the highest is the guess.

    Scores are log-likelihoods up to a constant of each record. Of ``another`` they are cosines.

    Raises:
        Lacking: nobody holds such copies of the candidates.
    """
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
    scores = _likelihood(seen, count, held.z_0, held.c)
    if isinstance(held, Copies) and variant == "cropped":
        for done, kept in enumerate(KEPT, 1):
            scores = scores.maximum(_likelihood(seen, count, *held.encode(_uncropped(held.images, kept))))
            tell(done, len(KEPT))
    return Guess(scores=scores, budget={"variant": variant, "candidates": len(held.z_0)})


def _likelihood(seen: Evidence, count: int, z_0: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Log-likelihoods ``(count, M)`` of the first records under candidates ``(M, 4, h, w)``, up to a constant of each record."""
    scores = -_distances(seen.x[:count], z_0) / (2 * seen.v[:count, None])
    if seen.y is not None and seen.w is not None:
        scores = scores - _distances(seen.y[:count], c) / (2 * seen.w[:count, None])
    return scores


def _uncropped(images: np.ndarray, kept: float) -> np.ndarray:
    """Pictures uint8 ``(M, H, W, 3)`` as they were if these are the middle of them, a share ``kept`` of each side."""
    sides = images.shape[1:3]
    inner = tuple(max(1, round(kept * side)) for side in sides)
    pad = [((side - part) // 2, side - part - (side - part) // 2) for side, part in zip(sides, inner, strict=True)]
    shrunk = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2).float(), inner, mode="bicubic", antialias=True)
    around = F.pad(shrunk, (*pad[1], *pad[0]), mode="replicate")
    found: np.ndarray = around.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return found


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
