"""The whole seal in its order: clip, noise, and only then round. Public, so that an attacker can
know it without knowing an owner."""

from __future__ import annotations

import torch

from sfumato.core.randomness import Noise
from sfumato.defences import dithered_int8, latent_clip, sealed_noise
from sfumato.diffusion.schedule import Schedule
from sfumato.records.record import SealSettings


def seal(z_0: torch.Tensor, c: torch.Tensor, settings: SealSettings, schedule: Schedule, *, noise: Noise) -> dict[str, torch.Tensor]:
    """The fields of records of ``z_0`` and ``c``, both ``(B, 4, h, w)``; ``c`` is not looked at
    where no condition leaves."""
    parts = {"z_n": (z_0, settings.clip, settings.seal_step), "c_m": (c, settings.condition_clip, settings.condition_step)}
    sealed = {}
    for name in settings.fields:
        latents, clip, step = parts[name]
        noised = sealed_noise.apply(latent_clip.apply(latents, clip), step, schedule, noise=noise)
        sealed[name] = noised.half() if settings.bits == 16 else dithered_int8.apply(noised, noise=noise)
    return sealed
