"""DDIM and ancestral sampling under classifier-free guidance, with a ControlNet's residuals or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sfumato.diffusion import budget
from sfumato.diffusion.base import Base


@torch.no_grad()
def sample(
    base: Base,
    prompts: list[str],
    *,
    generator: torch.Generator,
    controlnet: Any = None,
    condition: torch.Tensor | None = None,
    captioned: bool = False,
    steps: int = 25,
    guidance: float = 3.0,
    control_guidance_end: float = 1.0,
    start: tuple[torch.Tensor, int] | None = None,
    eta: float = 0.0,
    on_step: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """Draw pictures.

    Args:
        base: the frozen base.
        prompts: B prompts.
        generator: draws the starting noise, and that of ancestral steps.
        controlnet, condition: a latent ControlNet and its ``(B, 4, h, w)`` condition latents, or neither.
        captioned: the ControlNet was trained with captions; else it sees zeros.
        steps, guidance: DDIM steps and guidance scale; guidance 1 takes half the time.
        control_guidance_end: share of the steps in which the residuals are used.
        start: ``(z_n, n)`` to go on from latents ``(B, 4, h, w)`` at step n, instead of from noise at the last step.
        eta: 0 for DDIM, 1 for ancestral steps: then what comes out is a draw of ``p(z_0 | start)`` under the base, not its one image.
        on_step: called after every step.

    Returns:
        Latents ``(B, 4, h, w)``. The networks take as many of them at once as fit the budget of memory; all noise is drawn for all B.
    """
    b = len(prompts)
    if start is None:
        side = base.size // base.factor
        start = torch.randn((b, 4, side, side), generator=generator), base.schedule.steps - 1
    z, top = start
    guided = guidance != 1.0
    device = base.unet.device
    context, empty = base.embed(prompts).to(device), base.empty_context.to(device)
    condition = None if condition is None or controlnet is None else condition.to(device)
    z = z.to(device)
    batch = budget.pieces(budget.denoising(base.unet, z.shape[-1], guided=guided), most=b)
    grid = torch.linspace(top, 0, steps + 1).round().long()[:-1]
    for k, t in enumerate(grid):
        hint = condition if k < control_guidance_end * steps else None
        eps = torch.cat(
            [
                _eps(
                    base, z[i : i + batch], t, context[i : i + batch], empty, guidance=guidance,
                    controlnet=controlnet, condition=None if hint is None else hint[i : i + batch], captioned=captioned,
                )
                for i in range(0, b, batch)
            ]
        )  # fmt: skip
        alpha, sigma = (x.to(z) for x in (base.schedule.alpha(t), base.schedule.sigma(t)))
        z_0 = (z - sigma * eps) / alpha
        following = None if k + 1 == steps else grid[k + 1]
        after, noise = base.schedule.alpha(following).to(z), base.schedule.sigma(following).to(z)
        if eta and following is not None:
            fresh = eta * noise / sigma * (1 - (alpha / after) ** 2).sqrt()
            z = after * z_0 + (noise**2 - fresh**2).sqrt() * eps + fresh * torch.randn(z.shape, generator=generator).to(z)
        else:
            z = after * z_0 + noise * eps
        on_step()
    return z.cpu()


def _eps(
    base: Base,
    z: torch.Tensor,
    t: torch.Tensor,
    context: torch.Tensor,
    empty: torch.Tensor,
    *,
    guidance: float,
    controlnet: Any,
    condition: torch.Tensor | None,
    captioned: bool,
) -> torch.Tensor:
    """The noise that a few of the pictures are taken to hold: what is large in memory lives in here only.

    ``z`` and ``condition`` are ``(B, 4, h, w)``, ``context`` ``(B, L, D)``, ``empty`` ``(1, L, D)``.
    """
    b, guided = len(z), guidance != 1.0
    batch = torch.cat([z, z]) if guided else z
    if guided:
        context = torch.cat([empty.expand(b, -1, -1), context])
    residuals = None
    if condition is not None:
        silent = torch.zeros_like(context)
        if captioned or not guided:
            hint = torch.cat([condition, condition]) if guided else condition
            down, mid = controlnet(batch, t, context if captioned else silent, controlnet_cond=hint, return_dict=False)
        else:  # both halves of the guided batch get the same residuals: compute them once
            down, mid = controlnet(z, t, silent[:b], controlnet_cond=condition, return_dict=False)
            down, mid = [torch.cat([d, d]) for d in down], torch.cat([mid, mid])
        residuals = down, mid
    eps = base.predict_noise(batch, t, context, residuals)
    if not guided:
        return eps
    unconditional, conditional = eps.chunk(2)
    return unconditional + guidance * (conditional - unconditional)
