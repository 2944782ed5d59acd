"""From the record straight to who it is, with no picture in between.

By data processing, whatever picture another attack makes holds no more of the person than the record does: a network that is asked for
nothing but the person could be the strongest of them. As it is trained here it is not: on latents without noise, decoding them leads to
more people. It learns, on public people pushed through the mechanism, to say
where in the attacker's own identity space the clean picture's person lies.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Mechanism, Public, Scenario
from sfumato.attacker.records._evidence import see
from sfumato.attacker.records._fit import Curve
from sfumato.attacker.records._identity import learned, people_of
from sfumato.attacker.records._network import Reader, learn, read
from sfumato.attacker.records._once import Once
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import seeded
from sfumato.diffusion.base import Base

DESCRIPTION = "read the person off the record, without a picture"
TARGETS: tuple[Target, ...] = ("person",)
NEEDS: tuple[type, ...] = (Latents, Public, Mechanism, Base)
COUNT: dict[Effort, int] = {"quick": 4000, "full": 4000}
STEPS: dict[Effort, int] = {"quick": 600, "full": 10_000}

_made: Once[tuple[Reader, Curve]] = Once()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """See the module."""
    base, public = scenario[Base], scenario[Public]
    reader, curve = trained(scenario, effort=effort, seed=seed, tell=tell)
    said = F.normalize(read(reader, see(scenario, base.schedule)), dim=1).numpy().astype(np.float32)
    budget = {"steps": STEPS[effort], "public people": len(set(public.identities)), "public pictures": len(public.images)}
    return Guess(embeddings=said, embed=learned(public)[0].embed, curve=curve, budget=budget)


def trained(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> tuple[Reader, Curve]:
    """The reader of a scenario's mechanism, made once: ``pooling`` reads by it, too."""
    key = (scenario[Public], seed, STEPS[effort])
    return _made(scenario[Mechanism], key, lambda: _trained(scenario, steps=STEPS[effort], seed=seed, tell=tell))


def _trained(scenario: Scenario, *, steps: int, seed: int, tell: Tell) -> tuple[Reader, Curve]:
    base, public = scenario[Base], scenario[Public]
    _, embedded = learned(public)
    names, centres = people_of(public)
    person = centres[[names.index(name) for name in public.identities]]
    with seeded(seed, 1):
        reader = Reader(embedded.shape[1], pooled=True)

    def loss(said: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Towards the clean picture's own embedding, of which there are as many as pictures, and towards the person's."""
        return 2 - F.cosine_similarity(said, embedded[rows]).mean() - F.cosine_similarity(said, person[rows]).mean()

    return reader, learn(reader, loss, scenario, base.schedule, steps=steps, seed=seed, tell=tell)
