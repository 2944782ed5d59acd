"""Away from what the base would have drawn, towards what the adapter adds: FineXtract (Wu et al., arXiv 2410.03039).

    eps = eps_base + w (eps_ft - eps_base)                     w = 1 is the victim, 0 the base

Fine-tuning moves a model's distribution a little of the way to its pictures; ``w > 1`` goes on in the same direction. Many draws, of which
the centres of the largest cliques of pictures alike are kept: what is drawn again and again was learned by heart. Variants: ``w2``, ``w3``,
``w5``; ``embedded``, w = 3 under the victim's network embedding in place of a prompt (an encoder must have been trained); ``plain`` is
classifier-free guidance of the victim, with the same draws and the same choice among them, at the same price.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._sampling import GUIDANCE, PICTURES, STEPS, adapted, cliques, pictures, similarity
from sfumato.attacker.weights.base import Class, Guess, Published, Steps, Target, Trigger
from sfumato.attacker.weights.network_autoencoder import Trained, pictures_under
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

DESCRIPTION = "FineXtract: guide away from the base, draw many, keep the centres of pictures alike"
TARGETS: tuple[Target, ...] = ("person", "picture")
NEEDS: tuple[type, ...] = (Published, Base)
MAY_USE: tuple[type, ...] = (Trigger, Class, Trained, Steps)
W = {"plain": 1.0, "w2": 2.0, "w3": 3.0, "w5": 5.0, "embedded": 3.0}
VARIANTS = tuple(W)
DRAWS: dict[Effort, int] = {"quick": 16, "full": 64}


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "w3") -> Guess:
    """Draw pictures away from the base's, under the trigger where it leaked, else the class's prompt.

    Raises:
        Lacking: neither trigger nor class is known, or ``embedded`` has no encoder.
    """
    if variant not in W:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    known = scenario.get(Trigger) or scenario.get(Class)
    if known is None:
        raise Lacking(Trigger, Class)
    base, w, count = scenario[Base], W[variant], DRAWS[effort]
    guidance = GUIDANCE if variant == "plain" else 1.0
    with adapted(base, scenario[Published].adapter) as victim:
        drawn_from = victim if variant == "plain" else between(base, victim, known.prompt, w)
        if variant == "embedded":
            contexts = _embedded(scenario, count, seed)
            z_0 = pictures_under(drawn_from, contexts, steps=STEPS[effort], guidance=1.0, draws=generator(seed, 2))
            images = base.decode_pixels(z_0)
            tell(count, count)
        else:
            images = pictures(drawn_from, [known.prompt] * count, steps=STEPS[effort], guidance=guidance, seed=seed, tell=tell)
    found = cliques(similarity(images))
    order = [clique[0] for clique in found] + [i for clique in found for i in clique[1:]]
    budget = {
        "variant": variant, "w": w, "guidance": guidance, "drawn": count, "steps": STEPS[effort], "prompt": known.prompt,
        "cliques": [len(clique) for clique in found],
    }  # fmt: skip
    return Guess(images=images[order[: PICTURES[effort]]], budget=budget)


def _embedded(scenario: Scenario, count: int, seed: int) -> torch.Tensor:
    """Network embeddings ``(count, L, D)`` of the victim, by the first encoder that was trained: they stand where the trigger would."""
    trained = scenario.get(Trained)
    if trained is None or not trained.encoders:
        raise Lacking(Trained)
    steps = scenario.get(Steps)
    model = next(iter(trained.encoders.values()))
    embedding = model.embed(scenario[Published].adapter, steps=None if steps is None else steps.steps)
    return embedding.draw(count, generator=generator(seed, 1))


def between(base: Base, victim: Base, prompt: str, w: float) -> Base:
    """The victim, but predicting ``eps_base + w (eps_ft - eps_base)`` under ``prompt``; each network reads its own text encoder."""
    return replace(victim, unet=_Between(base.unet, victim.unet, base.embed([prompt]), w))


class _Between:
    """Stands in for a UNet. The weights add up to 1, so that the same law holds of eps and of v."""

    def __init__(self, plain: Any, tuned: Any, context: torch.Tensor, w: float) -> None:
        self.plain, self.tuned, self.context, self.w = plain, tuned, context.to(tuned.device), w
        self.device = tuned.device

    def __call__(self, z_t: torch.Tensor, t: torch.Tensor, encoder_hidden_states: torch.Tensor) -> SimpleNamespace:
        eps_base = self.plain(z_t, t, encoder_hidden_states=self.context.expand(len(z_t), -1, -1)).sample
        eps_ft = self.tuned(z_t, t, encoder_hidden_states=encoder_hidden_states).sample
        return SimpleNamespace(sample=torch.lerp(eps_base, eps_ft, self.w))
