"""How far work is: what whoever waits for it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[int, int], None]  # steps done, and of how many
TellOf = Callable[[str, int, int], None]  # of what, before these


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is: ``step`` of ``steps`` are made. The loss on what is kept aside is known at some steps, to some trainers."""

    step: int
    steps: int
    loss: float
    held_out_loss: float | None = None
