"""A ControlNet as the prior: go on from the record under the very condition that came with it. The server's best picture.

Variants: ``server``, the ControlNet that the server has just trained from the records; ``public``, one that the attacker trains on public
pairs at the condition's own noise and at every t, so that it also knows what happens below the seal step.
"""

from __future__ import annotations

from typing import Any

import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Conditions, Latents, Public, Scenario, Trained
from sfumato.attacker.records._evidence import TRACES, see
from sfumato.attacker.records._fit import Curve, fit
from sfumato.attacker.records._once import Once
from sfumato.attacker.records._sampling import denoise, noised
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base

DESCRIPTION = "let a ControlNet fill in what the noise hides, under the record's own condition"
TARGETS: tuple[Target, ...] = ("picture", "person")
NEEDS: tuple[type, ...] = (Latents, Base)
MAY_USE: tuple[type, ...] = (*TRACES, Trained, Public)
COUNT: dict[Effort, int] = {"quick": 200, "full": 400}
VARIANTS = ("server", "public")
STEPS: dict[Effort, int] = {"quick": 15, "full": 25}
TRAINING: dict[Effort, int] = {"quick": 300, "full": 800}
BATCH = 16

_made: Once[tuple[Any, Curve]] = Once()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "server") -> Guess:
    """Fill in ``z_0`` of every record under its own condition.

    Raises:
        Lacking: no condition leaked, or what the variant needs: a trained ControlNet, public pictures.
    """
    base = scenario[Base]
    seen = see(scenario, base.schedule)
    if seen.y is None or seen.w is None:
        raise Lacking(Conditions)
    scale = 1 / (1 + seen.w).sqrt().view(-1, 1, 1, 1)
    hint = scale * seen.y
    curve: Curve = []
    budget = {"variant": variant, "steps": STEPS[effort]}
    if variant == "server":
        trained = scenario.get(Trained)
        if trained is None:
            raise Lacking(Trained)
        controlnet, captioned = trained.controlnet, trained.settings["context"] == "captions"
    else:
        if scenario.get(Public) is None:
            raise Lacking(Public)
        captioned = False
        public, levels, steps = scenario[Public], seen.w.unique(), TRAINING[effort]
        key = (base.unet_fingerprint, steps, seed, *levels.tolist())
        controlnet, curve = _made(public, key, lambda: _trained(base, public, levels, steps=steps, seed=seed, tell=tell))
        budget["training steps"] = steps
    z_0 = denoise(
        base, seen, steps=STEPS[effort], eta=0.0, seed=seed, controlnet=controlnet, hint=hint, captioned=captioned, tell=tell
    )  # fmt: skip
    return Guess(z_0=z_0, curve=curve, budget=budget)


def _trained(base: Base, public: Public, levels: torch.Tensor, *, steps: int, seed: int, tell: Tell) -> tuple[Any, Curve]:
    """A ControlNet of the attacker's own, trained on public pairs whose conditions are as noisy as the records': variances ``(W,)``."""
    model = nets.new_controlnet(base, generator=generator(seed, 1))

    def loss(step: int) -> torch.Tensor:
        draws = generator(seed, 31, step)
        rows = torch.randint(len(public.z_0), (BATCH,), generator=draws)
        w = levels[torch.randint(len(levels), (BATCH,), generator=draws)].view(-1, 1, 1, 1)
        hint = (public.c[rows] + w.sqrt() * torch.randn(public.c[rows].shape, generator=draws)) / (1 + w).sqrt()
        z_t, eps, t = noised(public.z_0[rows], base.schedule, draws)
        context = base.empty_context.expand(BATCH, -1, -1)
        eps_hat = nets.controlled_eps(base, model, z_t, t, context=context, hint=hint, seen=torch.zeros_like(context))
        return (eps_hat - eps).square().mean()

    curve = fit(model.parameters(), loss, steps=steps, lr=3e-4, clip=1.0, tell=tell)
    return model.eval().requires_grad_(False), curve
