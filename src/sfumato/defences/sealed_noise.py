"""Noise the latent once: ``z_n = alpha_n z_0 + sigma_n eps``; eps never leaves and is never drawn a
second time."""

from __future__ import annotations

import torch

from sfumato.core.randomness import Noise
from sfumato.diffusion.schedule import Schedule


def apply(z_0: torch.Tensor, step: int | None, schedule: Schedule, *, noise: Noise) -> torch.Tensor:
    """Seal latents ``(B, C, h, w)`` at ``step``; in float64, rounded by the caller after the noise.
    ``None`` leaves them clean."""
    if step is None:
        return z_0.double()
    return schedule.add_noise(z_0.double(), step, noise.normal(tuple(z_0.shape)))
