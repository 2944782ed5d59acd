"""Read the person off the weights, and let the victim's own UNet draw it (D. Yao, arXiv 2409.08482): no prompt, no picture is needed.

An encoder that was trained on adapters of public people turns the shared adapter into what a prompt's context would have been; the victim's
UNet is sampled under that, half of the pictures with guidance and half without, and those most alike are kept. Variants are encoders:
``hypernet``, the paper's; ``invariant``, ``probe`` and ``linear``, to which all ways of writing the same adapter are one; and two controls:
``constant``, one embedding for everybody, and whatever encoder on ``Another`` file than the one whose UNet draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch

from sfumato.adapters.lora import Adapter, check_fits
from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights._autoencoder import Autoencoder, Embedding, check_base
from sfumato.attacker.weights._sampling import GUIDANCE, PICTURES, STEPS, adapted, cliques, similarity
from sfumato.attacker.weights.base import Guess, Published, Steps, Target
from sfumato.core.device import autocast, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample

DESCRIPTION = "turn the weights into a prompt embedding and sample the victim's own UNet under it (paper 2)"
TARGETS: tuple[Target, ...] = ("person", "picture")
VARIANTS = ("hypernet", "invariant", "probe", "linear", "constant")
DRAWS: dict[Effort, int] = {"quick": 16, "full": 64}  # as many as the other attacks by sampling draw before they choose


@dataclass(frozen=True, eq=False)
class Trained:
    """Autoencoders trained on public adapters, by the names of their encoders."""

    encoders: Mapping[str, Autoencoder]


@dataclass(frozen=True, eq=False)
class Another:
    """A control of who evaluates: somebody else's adapter, which the encoder reads in the victim's place."""

    adapter: Adapter


NEEDS: tuple[type, ...] = (Published, Base, Trained)
MAY_USE: tuple[type, ...] = (Steps, Another)


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "hypernet") -> Guess:
    """Draw pictures under the embedding that the variant's encoder reads off the adapter.

    Raises:
        Lacking: no such encoder was trained.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", expected=f"one of {', '.join(VARIANTS)}")
    base, adapter, model = scenario[Base], scenario[Published].adapter, scenario[Trained].encoders.get(variant)
    if model is None:
        raise Lacking(Trained)
    check_base(model.base, base)
    known, another = scenario.get(Steps), scenario.get(Another)
    read = adapter if another is None else another.adapter
    embedding = model.embed(read, steps=None if known is None else known.steps)
    check_fits(adapter, base)
    guided = DRAWS[effort] // 2
    parts, done = [], 0
    with adapted(base, adapter) as victim:
        for kind, (guidance, count) in enumerate(((GUIDANCE, guided), (1.0, DRAWS[effort] - guided))):
            contexts = embedding.draw(count, generator=generator(seed, 1, kind))
            parts.append(pictures_under(victim, contexts, steps=STEPS[effort], guidance=guidance, draws=generator(seed, 2, kind)))
            tell(done := done + count, DRAWS[effort])
    images = base.decode_pixels(torch.cat(parts))
    kept = [i for clique in cliques(similarity(images)) for i in clique][: PICTURES[effort]]
    curve = [(row[0], row[2] if len(row) > 2 else row[1]) for row in model.facts.get("curve", [])]
    budget = {
        "variant": variant, "steps": STEPS[effort], "guidance": [GUIDANCE, 1.0], "drawn": DRAWS[effort],
        "training steps": curve[-1][0] if curve else 0, "public people": model.facts.get("people", 0),
        "public adapters": model.facts.get("adapters", 0), **_told(embedding),
    }  # fmt: skip
    return Guess(images=images[kept], curve=curve, budget=budget)


def pictures_under(base: Base, contexts: torch.Tensor, *, steps: int, guidance: float, draws: torch.Generator) -> torch.Tensor:
    """Latents ``(K, 4, h, w)`` drawn under ``contexts`` ``(K, L, D)``, guided away from the empty prompt."""
    shown = {field.name: getattr(base, field.name) for field in fields(Base)}
    with autocast(base.unet.device, choose_precision(base.unet.device)):
        return sample(
            _Shown(**shown, contexts=contexts), [str(k) for k in range(len(contexts))], generator=draws, steps=steps, guidance=guidance
        )


@dataclass(frozen=True)
class _Shown(Base):
    """A base whose prompts are the numbers of given contexts ``(K, L, D)``; the empty prompt is what it always was."""

    contexts: torch.Tensor

    def embed(self, prompts: list[str]) -> torch.Tensor:
        return torch.cat([self.contexts[int(k)][None] if k else super(_Shown, self).embed([k]) for k in prompts])


def _told(embedding: Embedding) -> dict[str, object]:
    return {("fine-tuning steps" if name == "steps" else name): value for name, value in embedding.facts.items()}
