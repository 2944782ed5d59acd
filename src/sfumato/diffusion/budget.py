"""How many pictures a network takes at once: as many as fit a budget of memory, and at least one.

The estimates count the widest activations, in float32, whatever the precision. They are held against measured peaks in docs/memory.json.
"""

from __future__ import annotations

from typing import Any

MOST = 32  # pictures that a VAE takes at once, however small they are
BYTES = 2**30  # beside the weights; one picture of Stable Diffusion 1.5 takes about as much
_COPIES = 5  # of the widest activation that a VAE holds at a time: input, normalised, in another layout, convolved, and the shortcut
_UNET_COPIES = 48  # of the first activation: what the skips keep, and what the widest feed-forward makes


def pieces(each: int, *, most: int = MOST) -> int:
    """How many pictures of ``each`` bytes are taken at once."""
    return max(1, min(most, BYTES // max(1, each)))


def encoding(vae: Any, pixels: int) -> int:
    """Bytes that a VAE holds to encode one picture of so many pixels."""
    return 4 * _COPIES * pixels * int(vae.config.block_out_channels[0])


def decoding(vae: Any, pixels: int) -> int:
    """Bytes that a VAE holds to decode one picture of so many pixels: its last level begins with the width of the level before."""
    return 4 * _COPIES * pixels * int(vae.config.block_out_channels[:2][-1])


def denoising(unet: Any, side: int, *, guided: bool) -> int:
    """Bytes that a UNet and its ControlNet hold for latents of ``side``, twice where they are guided.

    A UNet without a configuration, such as a stand-in, counts as nothing.
    Attention that is not fused (``attention.suit``) has a score for every pair of places and every head.
    """
    config = getattr(unet, "config", None)
    if config is None:
        return 0
    tokens, heads = side**2, config.attention_head_dim
    fused = all(type(one).__name__ != "AttnProcessor" for one in unet.attn_processors.values())
    scores = 0 if fused else 2 * tokens**2 * int(heads if isinstance(heads, int) else max(heads))
    return 4 * (2 if guided else 1) * (_UNET_COPIES * tokens * int(config.block_out_channels[0]) + scores)
