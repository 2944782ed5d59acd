"""What every embedding is handed beside the pictures."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch


class Pictures(Protocol):
    """The VAE of a base, as far as an embedding may need it."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the VAE and its schedule."""
        ...

    def encode_pixels(self, images: np.ndarray) -> torch.Tensor:
        """uint8 ``(N, H, W, 3)`` to latents ``(N, 4, h, w)``."""
        ...
