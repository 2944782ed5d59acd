"""All records of one person, read together: k pictures of a person are k chances.

Variants: ``records``, each is read as in ``direct_identity``; ``pictures``, each becomes a picture as in ``diffusion_prior:ddim``, and the
attacker's own identity head looks at that. What the records of a person say is averaged.
"""

from __future__ import annotations

import numpy as np

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Mechanism, People, Public, Scenario
from sfumato.attacker.records import direct_identity
from sfumato.attacker.records._evidence import TRACES, see
from sfumato.attacker.records._identity import learned
from sfumato.attacker.records._sampling import denoise
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.device import choose_precision
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

DESCRIPTION = "read the person off all records of the same person"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Latents, Public, Mechanism, Base, People)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"glance": 200, "quick": 4000, "full": 4000}
VARIANTS = ("records", "pictures")
GLANCED = ("records",)
ASKS = "direct_identity"  # what each record says is kept for who asks again
STEPS: dict[Effort, int] = {"quick": 10, "full": 20}  # of DDIM


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "records") -> Guess:
    """Identify people by all of their records: each record gets its person's mean embedding."""
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    guess = (direct_identity.run if variant == "records" else _seen)(scenario, effort=effort, seed=seed, tell=tell)
    assert guess.embeddings is not None
    groups = scenario[People].groups.numpy()
    _, member = np.unique(groups, return_inverse=True)
    sums = np.zeros((member.max() + 1, guess.embeddings.shape[1]), np.float32)
    np.add.at(sums, member, guess.embeddings)
    pooled = sums[member]
    guess.embeddings = pooled / np.linalg.norm(pooled, axis=1, keepdims=True).clip(1e-12)
    guess.budget |= {"variant": variant, "records of a person": float(len(groups) / len(sums))}
    return guess


def _seen(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Every record's picture under the base, as the attacker's head sees it."""
    base, head = scenario[Base], learned(scenario[Public])[0]
    z_0 = denoise(base, see(scenario, base.schedule), steps=STEPS[effort], eta=0.0, seed=seed, tell=tell)
    embedded = head.embed(base.decode_pixels(z_0, precision=choose_precision(base.unet.device)))
    return Guess(embeddings=embedded, embed=head.embed, budget={"steps": STEPS[effort]})
