"""All records of one person, read together: k pictures of a person are k chances.

Each record is read as in ``direct_identity``; what they say of the person is averaged.
"""

from __future__ import annotations

import numpy as np

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Mechanism, People, Public, Scenario
from sfumato.attacker.records import direct_identity
from sfumato.attacker.records.base import Guess, Target
from sfumato.diffusion.base import Base

DESCRIPTION = "read the person off all records of the same person"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Latents, Public, Mechanism, Base, People)
COUNT: dict[Effort, int] = {"quick": 1000, "full": 4000}


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """See the module."""
    guess = direct_identity.run(scenario, effort=effort, seed=seed, tell=tell)
    assert guess.embeddings is not None
    groups = scenario[People].groups.numpy()
    _, member = np.unique(groups, return_inverse=True)
    sums = np.zeros((member.max() + 1, guess.embeddings.shape[1]), np.float32)
    np.add.at(sums, member, guess.embeddings)
    pooled = sums[member]
    guess.embeddings = pooled / np.linalg.norm(pooled, axis=1, keepdims=True).clip(1e-12)
    guess.budget["records of a person"] = float(len(groups) / len(sums))
    return guess
