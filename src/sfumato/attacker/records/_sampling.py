"""From evidence to pictures by a diffusion prior, a few records of equal noise at a time."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.attacker.attempt import Tell
from sfumato.attacker.records._evidence import Evidence, groups, step_of
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.noising import draw_t, renoise
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.schedule import CLEAN, Schedule

BATCH = 32


def denoise(
    base: Base,
    seen: Evidence,
    *,
    steps: int,
    eta: float,
    seed: int,
    prompts: list[str] | None = None,
    controlnet: Any = None,
    hint: torch.Tensor | None = None,
    captioned: bool = False,
    tell: Tell,
) -> torch.Tensor:
    """Go on from ``alpha_n x`` at the step n whose noise is that of the evidence: latents ``(N, 4, h, w)``.

    Args:
        base: whose prior fills in what is hidden.
        seen: N looks.
        steps, eta: 0 for DDIM, the one picture that the look flows to; 1 for ancestral steps, a draw of the posterior.
        seed: of the draws.
        prompts: N captions where they leaked; else empty.
        controlnet, hint, captioned: a ControlNet and the N condition latents it is shown; whether it reads captions.
        tell: progress over records.
    """
    found = torch.empty_like(seen.x)
    level = step_of(seen.v, base.schedule)
    done = 0
    for rows in groups(level):
        n = int(level[rows[0]])
        for i in range(0, len(rows), BATCH):
            part = rows[i : i + BATCH]
            z_n = base.schedule.alpha(n).float() * seen.x[part]
            words = [""] * len(part) if prompts is None else [prompts[k] for k in part.tolist()]
            with autocast(base.unet.device, choose_precision(base.unet.device)):
                found[part] = sample(
                    base, words, generator=generator(seed, 13, done), steps=min(steps, n + 1), guidance=1.0, start=(z_n, n), eta=eta,
                    controlnet=controlnet, condition=None if hint is None else hint[part], captioned=captioned,
                )  # fmt: skip
            tell(done := done + len(part), len(seen.x))
    return found


@torch.no_grad()
def posterior_mean(base: Base, seen: Evidence, *, tell: Tell) -> torch.Tensor:
    """The prior's one-step ``E[z_0 | x]`` ``(N, 4, h, w)``: what minimises the squared error, blurred where the record hides."""
    found = torch.empty_like(seen.x)
    level = step_of(seen.v, base.schedule)
    for i in range(0, len(seen.x), BATCH):
        t = level[i : i + BATCH]
        alpha, sigma = (f(t).float().view(-1, 1, 1, 1) for f in (base.schedule.alpha, base.schedule.sigma))
        z_n = alpha * seen.x[i : i + BATCH]
        eps_hat = base.predict_noise(z_n, t, base.empty_context.expand(len(t), -1, -1))
        found[i : i + BATCH] = (z_n - sigma * eps_hat) / alpha
        tell(min(i + BATCH, len(seen.x)), len(seen.x))
    return found


def noised(z_0: torch.Tensor, schedule: Schedule, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``z_t``, ``eps`` ``(B, 4, h, w)`` and ``t`` ``(B,)`` of clean latents, at steps drawn evenly."""
    clean = torch.full((len(z_0),), CLEAN)
    t = draw_t(clean, schedule.steps, generator=draws)
    z_t, eps, _ = renoise(z_0, clean, t, schedule, generator=draws)
    return z_t, eps, t
