"""The base itself as the prior: it knows what pictures look like, and goes on from the record at its step.

Variants: ``mean``, the one-step posterior mean; ``ddim``, the one picture that the record flows to; ``sample``, a draw of the posterior;
``best``, the middle one of several draws, by the attacker's own identity head; ``tuned``, DDIM after the base was fine-tuned on public
pictures of the same kind. Captions that leaked are used. Closest study: arXiv 2403.07588.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from sfumato.attacker.attempt import Effort, Lacking, Tell
from sfumato.attacker.knowledge import Captions, Latents, Public, Scenario
from sfumato.attacker.records._evidence import TRACES, Evidence, names, see
from sfumato.attacker.records._fit import Curve, fit
from sfumato.attacker.records._identity import learned
from sfumato.attacker.records._once import Once
from sfumato.attacker.records._sampling import denoise, noised, posterior_mean
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base

DESCRIPTION = "let the base fill in what the noise hides"
TARGETS: tuple[Target, ...] = ("picture", "person")
NEEDS: tuple[type, ...] = (Latents, Base)
MAY_USE: tuple[type, ...] = (*TRACES, Captions, Public)
COUNT: dict[Effort, int] = {"glance": 32, "quick": 200, "full": 400}
VARIANTS = ("mean", "ddim", "sample", "best", "tuned")
GLANCED = ("mean", "ddim")
STEPS: dict[Effort, int] = {"glance": 10, "quick": 15, "full": 25}
DRAWS: dict[Effort, int] = {"quick": 3, "full": 6}
TUNING: dict[Effort, int] = {"quick": 60, "full": 200}
BATCH = 16

_made: Once[tuple[Base, Curve]] = Once()
_draws: Once[torch.Tensor] = Once()


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell, variant: str = "ddim") -> Guess:
    """Fill in ``z_0`` of every record with the base.

    Raises:
        Lacking: ``best`` and ``tuned`` want public pictures.
    """
    base = scenario[Base]
    seen = see(scenario, base.schedule)
    captions = scenario.get(Captions)
    words = None if captions is None else list(captions.prompts)
    budget = {"variant": variant, "steps": 1 if variant == "mean" else STEPS[effort], "captions": words is not None}
    if variant == "mean":
        return Guess(z_0=posterior_mean(base, seen, tell=tell), budget=budget)
    if variant == "best":
        if scenario.get(Public) is None:
            raise Lacking(Public)
        budget["draws"] = DRAWS[effort]
        drawn = [_drawn(base, seen, words, steps=STEPS[effort], seed=seed + k, tell=tell) for k in range(DRAWS[effort])]
        return Guess(z_0=_middle(drawn, base, scenario[Public]), budget=budget)
    curve: Curve = []
    if variant == "tuned":
        if scenario.get(Public) is None:
            raise Lacking(Public)
        plain, public, tuning = base, scenario[Public], TUNING[effort]
        key = (plain.unet_fingerprint, tuning, seed)
        base, curve = _made(public, key, lambda: _tuned(plain, public, steps=tuning, seed=seed, tell=tell))
        budget["tuning steps"] = tuning
    if variant == "sample":
        z_0 = _drawn(base, seen, words, steps=STEPS[effort], seed=seed, tell=tell).clone()
    else:
        z_0 = denoise(base, seen, steps=STEPS[effort], eta=0.0, seed=seed, prompts=words, tell=tell)
    return Guess(z_0=z_0, curve=curve, budget=budget)


def _drawn(base: Base, seen: Evidence, words: list[str] | None, *, steps: int, seed: int, tell: Tell) -> torch.Tensor:
    """A draw of the posterior for every record ``(N, 4, h, w)``: ``sample``, and the first that ``best`` chooses from."""
    key = (b"".join(names(seen)), steps, seed, None if words is None else tuple(words))
    return _draws(base.unet, key, lambda: denoise(base, seen, steps=steps, eta=1.0, seed=seed, prompts=words, tell=tell))


def _middle(drawn: list[torch.Tensor], base: Base, public: Public) -> torch.Tensor:
    """Of K draws ``(N, 4, h, w)`` of every record, the one whose person is nearest to the mean of all."""
    head = learned(public)[0]
    embedded = np.stack([head.embed(base.decode_pixels(z, precision=choose_precision(base.unet.device))) for z in drawn])
    nearest = (embedded * embedded.mean(0, keepdims=True)).sum(-1).argmax(0)
    return torch.stack([drawn[k][i] for i, k in enumerate(nearest.tolist())])


def _tuned(base: Base, public: Public, *, steps: int, seed: int, tell: Tell) -> tuple[Base, Curve]:
    """A base whose UNet has seen the attacker's public pictures, under the empty prompt."""
    tuned = replace(base, unet=copy.deepcopy(base.unet).train().requires_grad_(True))
    context = base.empty_context.expand(BATCH, -1, -1)
    precision = choose_precision(base.unet.device)

    def loss(step: int) -> torch.Tensor:
        draws = generator(seed, 29, step)
        rows = torch.randint(len(public.z_0), (BATCH,), generator=draws)
        z_t, eps, t = noised(public.z_0[rows], base.schedule, draws)
        with autocast(z_t.device, precision):
            said = tuned.predict_noise(z_t, t, context, dtype=torch.float32)
        return (said - eps).square().mean()

    curve = fit(tuned.unet.parameters(), loss, steps=steps, lr=5e-5, tell=tell)
    tuned.unet.eval().requires_grad_(False)
    return tuned, curve
