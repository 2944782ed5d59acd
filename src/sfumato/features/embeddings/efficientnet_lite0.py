"""EfficientNet-Lite0's pooled features at 128 pixels: a fifth of the time that 224 take."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from sfumato.features import efficientnet
from sfumato.features.embeddings.base import Pictures

DESCRIPTION = "features of an ImageNet network: what is on the picture, little of its exact colours"
SIZE = 128


def fingerprint(codec: Pictures) -> str:
    """SHA-256 of the file of the weights and of the size that pictures are brought to."""
    return _fingerprint()


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    return hashlib.sha256(f"efficientnet_lite0 at {SIZE} ".encode() + efficientnet.weights().read_bytes()).hexdigest()


def embed(images: np.ndarray, codec: Pictures) -> np.ndarray:
    """Uint8 ``(N, H, W, 3)`` to float32 ``(N, 1280)``."""
    return efficientnet.features(images, size=SIZE)
