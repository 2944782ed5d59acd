"""Where tensors go: the one place that moves them between devices.

The rule. A base's networks, and a ControlNet that was made beside it, lie on one device; whoever calls them need not know which. What a
network is passed is moved to its weights, and what it returns goes back to where the first tensor came from. So a caller keeps its
tensors where it likes: a server, in a loop, where the base is (then nothing moves); an attacker or a judge on the CPU, where all
draws are made so that a seed means the same everywhere.

Gradients go the same way back. Nothing outside this module has to move a tensor for the sake of correctness.
"""

from __future__ import annotations

from typing import Any

import torch

VAE_PARTS = ("encoder", "decoder", "quant_conv", "post_quant_conv")  # ``encode`` and ``decode`` call these


def at_home(module: Any) -> Any:
    """Let ``module`` fetch what it is called with, and send back what it returns; a VAE, which is not called itself, by its parts."""
    parts = [getattr(module, name, None) for name in VAE_PARTS]
    for part in [part for part in parts if part is not None] or [module]:
        if not hasattr(part, "_came_from"):  # given twice, it is as given once
            part._came_from = []
            part.register_forward_pre_hook(_fetch, with_kwargs=True)
            part.register_forward_hook(_send_back, always_call=True)
    return module


def _fetch(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    home = next(module.parameters()).device
    first = next((value.device for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), home)
    module._came_from.append(first)
    return tuple(_moved(value, home) for value in args), {name: _moved(value, home) for name, value in kwargs.items()}


def _send_back(module: Any, args: tuple[Any, ...], output: Any) -> Any:
    device = module._came_from.pop()
    return None if output is None else _moved(output, device)


def _moved(value: Any, device: torch.device) -> Any:
    """``value`` with every tensor in it on ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if type(value) in (list, tuple):
        return type(value)(_moved(part, device) for part in value)
    if isinstance(value, dict):  # also the libraries' outputs, which are no plain dictionaries: changed in place
        for name, part in list(value.items()):
            if (there := _moved(part, device)) is not part:
                value[name] = there
    return value
