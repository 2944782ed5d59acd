"""Half the bytes: round to int8 *after* the noise, so that nothing of a guarantee changes;
dithered, so that no value moves on average."""

from __future__ import annotations

import torch

from sfumato.core.randomness import Noise
from sfumato.records.record import LEVELS


def apply(z_n: torch.Tensor, *, noise: Noise) -> torch.Tensor:
    """Noised latents of any shape to int8, ``LEVELS`` to one unit; ``records.record.restore``
    brings them back.

    The expectation of what comes back is ``z_n`` wherever it fits into ±128 / ``LEVELS``, its
    variance at most ``1 / (4 LEVELS^2)``.
    """
    dither = torch.special.ndtr(noise.normal(tuple(z_n.shape)))
    return (z_n.double() * LEVELS + dither).floor().clamp(-128, 127).to(torch.int8)
