"""How attackers train whatever they train: one loop, one curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from sfumato.attacker.attempt import Tell

Curve = list[tuple[float, float]]


def fit(
    parameters: Iterable[torch.nn.Parameter],
    loss: Callable[[int], torch.Tensor],
    *,
    steps: int,
    lr: float,
    tell: Tell,
    falling: bool = False,
    clip: float = float("inf"),
    weight_decay: float = 0.01,
    measure: Callable[[], float] | None = None,
) -> Curve:
    """Lower ``loss(step)`` by AdamW, and return the curve ``(steps made, value)`` at about ten points.

    Args:
        parameters: what is trained, in place.
        loss: of a step; must draw from generators of its own.
        steps, lr, weight_decay: the optimiser's.
        tell: progress.
        falling: whether the rate falls to zero along a cosine.
        clip: the gradient's largest norm.
        measure: what the curve shows; by default the loss, averaged over recent steps.
    """
    trained = list(parameters)
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if falling else None
    curve: Curve = []
    recent = 0.0
    for step in range(steps):
        value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, clip)
        optimiser.step()
        if rates is not None:
            rates.step()
        recent = float(value.detach()) if not step else 0.9 * recent + 0.1 * float(value.detach())
        if step % max(1, steps // 10) == 0 or step + 1 == steps:
            curve.append((float(step + 1), recent if measure is None else measure()))
        tell(step + 1, steps)
    return curve
