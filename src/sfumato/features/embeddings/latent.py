"""The VAE's latent, averaged to 8 x 8 places: what the base itself makes of a picture."""

from __future__ import annotations

import hashlib

import numpy as np
import torch.nn.functional as F

from sfumato.features.embeddings.base import Pictures

DESCRIPTION = "the VAE's latent at 8 x 8 places: layout and colours, as the base has them"
SIDE = 8


def fingerprint(codec: Pictures) -> str:
    """SHA-256 of what is done, and with which VAE."""
    return hashlib.sha256(f"mean latents at {SIDE} of {codec.fingerprint}".encode()).hexdigest()


def embed(images: np.ndarray, codec: Pictures) -> np.ndarray:
    """Uint8 ``(N, H, W, 3)`` to float32 ``(N, 4 * 64)``."""
    small: np.ndarray = F.adaptive_avg_pool2d(codec.encode_pixels(images), SIDE).flatten(1).numpy()
    return small
