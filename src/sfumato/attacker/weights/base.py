"""What an attack on shared weights is, and what it brings back.

A scenario is one victim: its published adapter, and what the attacker knows beside it. An attack is a module of this package with

    DESCRIPTION  one line
    TARGETS      what it recovers, the main thing first
    NEEDS        types of knowledge
    MAY_USE      optional: further types, which it uses where they are granted
    run(scenario, *, effort, seed, tell) -> Guess

and, where it has several ways, ``VARIANTS`` and ``run(..., variant=...)``; where it is dear, ``VICTIMS``, by effort on how many people a
study tries it at most. An attack that learns from public people is given what it has learned as one more piece of knowledge, a type of its
own module. It never sees the truth: scores are the judge's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from sfumato.adapters.dreambooth import FinetuneConfig
from sfumato.adapters.lora import Adapter, LoraSettings
from sfumato.attacker.attempt import Attacks
from sfumato.core.errors import UserError

Target = Literal["person", "picture", "caption", "member", "count", "weights"]
TARGETS: tuple[Target, ...] = ("person", "picture", "caption", "member", "count", "weights")


# ---------------------------------------------------------------------------------------- what leaked


@dataclass(frozen=True, eq=False)
class Published:
    """A shared adapter, as it was read: A, B and alpha of every layer. What it started from, ``A_0``, was never shared."""

    adapter: Adapter


@dataclass(frozen=True, eq=False)
class File:
    """The very bytes of the shared file, with whatever its header says."""

    data: bytes


@dataclass(frozen=True, eq=False)
class Merged:
    """Several adapters, each merged into one and the same base and then thrown away: by layer ``W_0 + dW_k``, ``(K, out, in)``."""

    weights: dict[str, torch.Tensor]
    rank: int


# ----------------------------------------------------------------------------- what else may be known


@dataclass(frozen=True, eq=False)
class Trigger:
    """The prompt that calls the person up, where it leaked with the file."""

    prompt: str


@dataclass(frozen=True, eq=False)
class Class:
    """What kind of thing the adapter shows, as a prompt of the base's: "a portrait of a person"."""

    prompt: str


@dataclass(frozen=True, eq=False)
class Steps:
    """For how many optimiser steps the adapter was trained, where that is known."""

    steps: int


@dataclass(frozen=True, eq=False)
class Recipe:
    """How adapters of this kind are usually trained: the attacker's own guess of settings, rate, batch and prompt."""

    settings: LoraSettings
    config: FinetuneConfig
    prompt: str


@dataclass(frozen=True, eq=False)
class PublicPeople:
    """Pictures of other people: uint8 ``images`` ``(P, H, W, 3)``, latents ``z_0`` ``(P, 4, h, w)``, who is on each."""

    images: np.ndarray
    z_0: torch.Tensor
    identities: list[str]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Latents ``(M, 4, h, w)`` of pictures of which some may have been trained on, and the caption that each would have had."""

    z_0: torch.Tensor
    prompts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LineUp:
    """M people of whom one may have been trained on, K pictures of each: none that was trained on, in an order that says nothing.

    ``images`` uint8 ``(M, K, H, W, 3)`` and their latents ``z_0`` ``(M, K, 4, h, w)``.
    """

    images: np.ndarray
    z_0: torch.Tensor

    def __post_init__(self) -> None:
        if self.z_0.ndim != 5 or self.images.ndim != 5 or self.images.shape[:2] != self.z_0.shape[:2] or not self.z_0.shape[1]:
            got = f"pictures {self.images.shape}, latents {tuple(self.z_0.shape)}"
            raise UserError(got, expected="(M, K, H, W, 3) and (M, K, 4, h, w), one picture of everybody at least")


# ------------------------------------------------------------------------------------------- a guess


@dataclass(eq=False)
class Guess:
    """What an attack says of one victim. Fields are ``None`` where it says nothing.

    Attributes:
        images: uint8 ``(K, H, W, 3)``, pictures of the person, the most trusted first.
        scores: ``(M,)`` over candidates, pictures or the people of a line-up; larger is more surely a member.
        facts: what was read or reckoned: a count, captions, file names.
        weights: by layer, a matrix that was recovered.
        curve: how the attack's own objective went: ``(budget spent, value)``.
        budget: what was spent, in words and numbers.
    """

    NUMBERS: ClassVar[tuple[str, ...]] = ("scores",)

    images: np.ndarray | None = None
    scores: torch.Tensor | None = None
    facts: dict[str, Any] | None = None
    weights: dict[str, torch.Tensor] | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)
    budget: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


_ALL: Attacks[Guess] = Attacks("attacker.weights")
attack, names, rows, chosen, attempt = _ALL.attack, _ALL.names, _ALL.rows, _ALL.chosen, _ALL.attempt
