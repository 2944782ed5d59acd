"""Bound a latent's norm, ``||z_0|| <= C``, so that the noise can be compared with it: without a
clip there is no guarantee."""

from __future__ import annotations

import torch

from sfumato.core.errors import UserError


def apply(z_0: torch.Tensor, clip: float | None) -> torch.Tensor:
    """Scale each latent of ``(B, C, h, w)`` down to norm ``clip`` where it is above (norms in
    float32). ``None`` changes nothing."""
    if clip is None:
        return z_0
    if not clip > 0:
        raise UserError(f"clip {clip} must be positive")
    norm = z_0.float().flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return z_0 * (clip / norm.clamp(min=1e-12)).clamp(max=1.0)
