"""A network learns record -> picture on public pictures that it pushes through the mechanism itself.

He, Zhang, Lee 2019, "Model Inversion Attacks Against Collaborative Inference", in latent space, with squared error and the error of
differences between neighbours beside it, which keeps edges.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Latents, Mechanism, Public, Scenario
from sfumato.attacker.records._evidence import TRACES, see
from sfumato.attacker.records._network import Reader, learn, read
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import seeded
from sfumato.diffusion.base import Base

DESCRIPTION = "learn to invert the mechanism on public pictures"
TARGETS: tuple[Target, ...] = ("picture", "condition", "person")
NEEDS: tuple[type, ...] = (Latents, Public, Mechanism, Base)
MAY_USE: tuple[type, ...] = TRACES
COUNT: dict[Effort, int] = {"quick": 2000, "full": 4000}
STEPS: dict[Effort, int] = {"quick": 400, "full": 1200}
BATCH: dict[Effort, int] = {"quick": 32, "full": 64}


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Train a network on public pictures, and read ``z_0`` and ``c`` off every record with it."""
    base, public = scenario[Base], scenario[Public]
    truth = torch.cat([public.z_0, public.c], dim=1)
    with seeded(seed, 1):
        reader = Reader(8, pooled=False)

    def loss(said: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        wanted = truth[rows]
        differences = sum(F.mse_loss(said.diff(dim=d), wanted.diff(dim=d)) for d in (-1, -2))
        return F.mse_loss(said, wanted) + 0.5 * differences

    curve = learn(reader, loss, scenario, base.schedule, steps=STEPS[effort], batch=BATCH[effort], seed=seed, tell=tell)
    found = read(reader, see(scenario, base.schedule))
    return Guess(z_0=found[:, :4], c=found[:, 4:], curve=curve, budget={"steps": STEPS[effort], "public pictures": len(public.z_0)})
