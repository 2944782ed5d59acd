"""Generate pictures under a condition with a trained ControlNet."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sfumato.core.device import autocast
from sfumato.core.progress import Tell
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.diffusion.sampling import sample

BATCH = 32
BLOCKS = 8  # of so many at once, where the device is not busy with one


def blocks(device: torch.device) -> int:
    """How many blocks of ``BATCH`` pictures are drawn at once on this device."""
    return BLOCKS if device.type == "cuda" else 1


def generate(
    base: Base,
    prompts: list[str],
    *,
    seed: int,
    controlnet: Any = None,
    settings: dict[str, Any] | None = None,
    conditions: np.ndarray | torch.Tensor | None = None,
    steps: int = 25,
    guidance: float = 3.0,
    precision: str = "no",
    first: int = 0,
    on_step: Tell = lambda done, total: None,
) -> np.ndarray:
    """Pictures for ``prompts``, uint8 ``(N, H, W, 3)``.

    Args:
        base: the base that the ControlNet was trained on.
        prompts: N prompts.
        seed: picture i depends on (seed, first + i // 32) and its place there alone: arms that share a seed share their starting noise.
        controlnet, settings: as ``load_latent_controlnet`` gives them; None for the base alone.
        conditions: uint8 ``(N, H, W, 3)`` condition pictures, or float ``(N, 4, h, w)`` latents, which are used as they are.
        steps, guidance: DDIM steps, guidance scale.
        precision: ``no`` for float32, ``bf16`` or ``fp16`` to autocast the networks: 1.7 times as fast on a CPU that multiplies bf16.
        first: the number of the first 32: for whoever asks for one 32 after another.
        on_step: called with (sampling steps done, in all).
    """
    latents: torch.Tensor | None = None
    if controlnet is not None and settings is not None and conditions is not None:
        if isinstance(conditions, torch.Tensor):
            latents = conditions
        else:
            latents = settings["condition_scale"] * base.encode_pixels(conditions)
    together = BATCH * blocks(base.unet.device)
    starts = range(0, len(prompts), together)
    pictures = []
    for number, start in enumerate(starts):
        ticks, said = iter(range(1, steps + 1)), prompts[start : start + together]
        noise = torch.cat([
            torch.randn((len(said[i : i + BATCH]), *base.latent_shape), generator=generator(seed, first + (start + i) // BATCH))
            for i in range(0, len(said), BATCH)
        ])  # fmt: skip
        with autocast(base.unet.device, precision):
            z_0 = sample(
                base,
                said,
                generator=generator(seed, first + number),
                start=(noise, base.schedule.steps - 1),
                controlnet=controlnet,
                condition=None if latents is None else latents[start : start + together],
                captioned=bool(settings and settings["context"] == "captions"),
                steps=steps,
                guidance=guidance,
                control_guidance_end=settings["control_guidance_end"] if settings else 1.0,
                on_step=lambda number=number, ticks=ticks: on_step(number * steps + next(ticks), len(starts) * steps),  # type: ignore[misc]
            )
            pictures.append(base.decode_pixels(z_0))
    return np.concatenate(pictures)
