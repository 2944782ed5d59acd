"""What an attack on records is, and what it brings back.

A scenario grants knowledge by type (``attacker.knowledge``). An attack declares in ``NEEDS`` the types without which it makes no sense;
where a scheme has no such thing (a gradient channel, say), ``attempt`` answers ``NoChannel`` and runs nothing. An attack is a module of
this package with

    DESCRIPTION  one line
    TARGETS      what it recovers, the main thing first
    NEEDS        types of knowledge
    MAY_USE      optional: further types, which it uses where they are granted
    ASKS         optional: the attack that it asks first, of the same records
    COUNT        how many records it attacks, by effort: what an optimisation can afford; without a "glance" it is left out at a glance
    GLANCED      optional: those of its variants that are made at a glance; by default all
    run(scenario, *, effort, seed, tell) -> Guess

and, where it has several ways, ``VARIANTS`` and ``run(..., variant=...)``. It is tuned on ``Public`` alone. It never sees the truth:
scores are the judge's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from sfumato.attacker.attempt import Attacks

Target = Literal["picture", "condition", "person", "prompt", "candidate"]
TARGETS: tuple[Target, ...] = ("picture", "condition", "person", "prompt", "candidate")


@dataclass(eq=False)
class Guess:
    """What an attack says of the first N records. Fields are ``None`` where it says nothing.

    Attributes:
        z_0, c: latents ``(N, 4, h, w)``.
        images: uint8 ``(N, H, W, 3)``, where pictures were found and not latents.
        embeddings: ``(N, D)`` in a space of the attacker's own, of unit norm; ``embed`` takes pictures uint8 ``(M, H, W, 3)`` there.
        prompts: N texts.
        scores: ``(N, M)`` over candidates; the largest is the guess.
        curve: how the attack's own objective fell (or rose): ``(budget spent, value)``.
        budget: what was spent, in words and numbers.
    """

    NUMBERS: ClassVar[tuple[str, ...]] = ("z_0", "c", "embeddings", "scores")

    z_0: torch.Tensor | None = None
    c: torch.Tensor | None = None
    images: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    embed: Callable[[np.ndarray], np.ndarray] | None = None
    prompts: list[str] | None = None
    scores: torch.Tensor | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)
    budget: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __len__(self) -> int:
        """N, the records that it speaks of."""
        said = (self.z_0, self.c, self.images, self.embeddings, self.prompts, self.scores)
        return next((len(value) for value in said if value is not None), 0)

    def take(self, index: list[int]) -> Guess:
        """What it says of the records at ``index`` alone."""
        cut: dict[str, Any] = {"prompts": None if self.prompts is None else [self.prompts[i] for i in index]}
        for name in ("z_0", "c", "images", "embeddings", "scores"):
            value = getattr(self, name)
            cut[name] = None if value is None else value[index]
        return replace(self, **cut)


_ALL: Attacks[Guess] = Attacks("attacker.records")
attack, names, rows, chosen, attempt = _ALL.attack, _ALL.names, _ALL.rows, _ALL.chosen, _ALL.attempt
