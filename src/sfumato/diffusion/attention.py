"""Attention that costs no more than it must: contexts that never change, and small latents on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SMALL = 32


def suit(module: Any, *, side: int, device: str) -> None:
    """Plain attention for latents of at most ``SMALL`` a side on a CPU, where the fused kernel's backward is the slowest part of a step.

    On other devices and for larger latents, whose scores would fill the memory, nothing is changed.
    """
    if device == "cpu" and side <= SMALL:
        from diffusers.models.attention_processor import AttnProcessor

        module.set_attn_processor(AttnProcessor())


def usual(module: Any) -> None:
    """The libraries' own choice: the fused kernel."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    module.set_attn_processor(AttnProcessor2_0())


class ConstantContext:
    """Cross-attention to a context that is the same for every picture and in every step: its keys and values are computed once."""

    def __init__(self, attn: Any, context: torch.Tensor) -> None:
        with torch.no_grad():
            self.key, self.value = (_heads(project(context.to(project.weight)), attn.heads) for project in (attn.to_k, attn.to_v))

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """``hidden_states`` ``(B, N, C)`` attend to the one context; whatever other context is passed is not looked at."""
        query = _heads(attn.to_q(hidden_states), attn.heads)
        scores = (query @ self.key.transpose(-1, -2).to(query.dtype) * attn.scale).softmax(dim=-1)
        seen = (scores @ self.value.to(scores.dtype)).transpose(1, 2).flatten(2)
        return attn.to_out[0](seen.to(hidden_states.dtype)) / attn.rescale_output_factor


class SilentContext:
    """Cross-attention to a context of zeros: its values are zeros, so that only the output's bias is left, whatever attends."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The bias, for each of ``hidden_states`` ``(B, N, C)``."""
        return (attn.to_out[0].bias / attn.rescale_output_factor).expand_as(hidden_states)


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """``(B, N, H d)`` to ``(B, H, N, d)``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class NullContexts:
    """While entered, a frozen ``unet`` sees ``context`` ``(1, L, D)`` and a ControlNet zeros, whatever they are passed.

    Exactly what passing these contexts computes, and the same gradients; what they do not reach of the ControlNet is frozen.
    """

    def __init__(self, unet: Any, context: torch.Tensor, controlnet: Any) -> None:
        freeze_unread(controlnet)
        self._pairs = [(m, ConstantContext(m, context)) for m in _cross(unet)] + [(m, SilentContext()) for m in _cross(controlnet)]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Take the attention over, and give it back."""
        before = [module.processor for module, _ in self._pairs]
        try:
            for module, processor in self._pairs:
                module.processor = processor
            yield
        finally:
            for (module, _), processor in zip(self._pairs, before, strict=True):
                module.processor = processor


def freeze_unread(controlnet: Any) -> None:
    """Freeze what a ControlNet that sees zeros does not compute with: cross-attention but for the output's bias, and the norm before it."""
    silent = _cross(controlnet)
    for block in [module for module in controlnet.modules() if any(getattr(module, "attn2", None) is m for m in silent)]:
        block.norm2.requires_grad_(False)
        block.attn2.requires_grad_(False)
        block.attn2.to_out[0].bias.requires_grad_(True)


def _cross(module: Any) -> list[Any]:
    found = [m for name, m in module.named_modules() if name.endswith("attn2") and hasattr(m, "processor")]
    usual = all(m.to_k.bias is None and m.to_v.bias is None and m.to_out[0].bias is not None and m.group_norm is None for m in found)
    return found if usual else []
