"""How attackers train whatever they train: AdamW, and one curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from sfumato.attacker.attempt import Tell
from sfumato.core import training

Curve = list[tuple[float, float]]


def fit(
    parameters: Iterable[torch.nn.Parameter],
    loss: Callable[[int], torch.Tensor],
    *,
    steps: int,
    lr: float,
    tell: Tell,
    falling: bool = False,
    clip: float | None = None,
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
        clip: the gradient's largest norm, if it has any.
        measure: what the curve shows; by default the loss, averaged over recent steps.

    Raises:
        UserError: a loss that is not finite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if falling else None
    curve: Curve = []
    recent = 0.0

    def after(done: int, value: float) -> None:
        nonlocal recent
        if rates is not None:
            rates.step()
        recent = value if done == 1 else 0.9 * recent + 0.1 * value
        if (done - 1) % max(1, steps // 10) == 0 or done == steps:
            curve.append((float(done), recent if measure is None else measure()))

    training.fit(
        optimiser, lambda step, part: loss(step), steps=steps, clip=clip, after=after,
        tell=lambda progress: tell(progress.step, progress.steps),
    )  # fmt: skip
    return curve
