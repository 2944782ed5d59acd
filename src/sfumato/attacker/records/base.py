"""What leaked of N pictures, what an attacker may know beside it, and what it brings back.

A scenario grants knowledge by type. An attack declares in ``NEEDS`` the types without which it makes no sense; where a scheme has no such
thing (a gradient channel, say), ``attempt`` answers ``NoChannel`` and runs nothing. An attack is a module of this package with

    DESCRIPTION  one line
    TARGETS      what it recovers, the main thing first
    NEEDS        types of knowledge
    COUNT        how many records it attacks, by effort: what an optimisation can afford
    run(scenario, *, effort, seed, tell) -> Guess

and, where it has several ways, ``VARIANTS`` and ``run(..., variant=...)``. It is tuned on ``Public`` alone. It never sees the truth:
scores are the judge's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base

Effort = Literal["quick", "full"]
Target = Literal["picture", "condition", "person", "prompt", "candidate"]
EFFORTS: tuple[Effort, ...] = ("quick", "full")
TARGETS: tuple[Target, ...] = ("picture", "condition", "person", "prompt", "candidate")
Tell = Callable[[int, int], None]
K = TypeVar("K")


# ---------------------------------------------------------------------------------------- what leaked


@dataclass(frozen=True, eq=False)
class Latents:
    """K releases of each picture's noised latent: ``z`` ``(K, N, 4, h, w)``, ``n`` int64 ``(K, N)``, -1 for clean.

    Row i is the same picture in every release. Where owners shuffle, the attacker linked them by something else that leaked.
    """

    z: torch.Tensor
    n: torch.Tensor


@dataclass(frozen=True, eq=False)
class Conditions:
    """K releases of each condition's noised latent: ``c`` ``(K, N, 4, h, w)``, ``m`` int64 ``(K, N)``, -1 for clean."""

    c: torch.Tensor
    m: torch.Tensor


@dataclass(frozen=True, eq=False)
class Noise:
    """The very noise in ``Latents``: ``eps`` ``(K, N, 4, h, w)``. Published as the training target."""

    eps: torch.Tensor


@dataclass(frozen=True, eq=False)
class Mixed:
    """The one-way scheme's ``h = fp16(f(c + z_t))``, ``(K, N, 4, h, w)``, and the name of f."""

    h: torch.Tensor
    activation: str


@dataclass(frozen=True, eq=False)
class Activations:
    """Conventional split learning's ``a = entrance(z_t, c)``, ``(K, N, C, h, w)``."""

    a: torch.Tensor


@dataclass(frozen=True, eq=False)
class Contexts:
    """Text contexts that travel, ``(N, L, D)``."""

    context: torch.Tensor


@dataclass(frozen=True, eq=False)
class Captions:
    """Prompts that leaked, N of them."""

    prompts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Files:
    """Everything in the clear: pictures uint8 ``(N, H, W, 3)``."""

    images: np.ndarray


@dataclass(frozen=True, eq=False)
class Update:
    """What an owner's training did to weights that the server holds before and after.

    ``gradients``: by parameter name, what ``(before - after) / lr`` tells of them, for a batch of latents of ``shape`` ``(B, 4, h, w)``.
    ``grad_of(z_0, c, t, eps)`` gives the gradients that a guessed batch would have, differentiable: the server knows model and recipe.
    ``t`` ``(B,)`` and ``eps`` ``(B, 4, h, w)`` are granted where the recipe's draws are the server's; else ``eps`` is guessed too.
    """

    gradients: dict[str, torch.Tensor]
    shape: tuple[int, ...]
    grad_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]
    t: torch.Tensor
    eps: torch.Tensor | None = None


class GradientChannel:
    """A channel that goes back to owners: ``forward(k)`` asks for batch k, ``backward(grad)`` moves the owner's own layers.

    Args:
        forward: batch number to what the owner sends: ``{"a", "z_t", "t", "eps", "rows"}``; ``rows`` say which records these are.
        backward: takes the gradient of ``a``; the owner makes its step.
    """

    def __init__(self, forward: Callable[[int], dict[str, torch.Tensor]], backward: Callable[[torch.Tensor], None]) -> None:
        self.forward, self.backward = forward, backward


# --------------------------------------------------------------------------------- what else is known


@dataclass(frozen=True, eq=False)
class Public:
    """Pictures of other people that anybody could have: latents ``z_0`` and ``c`` ``(P, 4, h, w)``, uint8 ``images``, who is on them."""

    images: np.ndarray
    z_0: torch.Tensor
    c: torch.Tensor
    identities: list[str]
    captions: list[str]


@dataclass(frozen=True, eq=False)
class Mechanism:
    """What is done to a picture before it leaves: pushes ``z_0``, ``c`` ``(B, 4, h, w)`` and gives what would leak of them."""

    push: Callable[[torch.Tensor, torch.Tensor, torch.Generator], Scenario]


@dataclass(frozen=True, eq=False)
class Entrance:
    """The owner's layers of conventional split learning, as the server hands them on: ``net(z_t, c) -> a``."""

    net: torch.nn.Module


@dataclass(frozen=True, eq=False)
class Architecture:
    """Only what the owner's layers look like: ``new(generator)`` makes some with weights of their own."""

    new: Callable[[torch.Generator], torch.nn.Module]


@dataclass(frozen=True, eq=False)
class Queries:
    """The right to push chosen pictures through the owner's own layers: ``ask(z_t, c) -> a``."""

    ask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """The ControlNet that the server has just trained, for condition latents that are shown as ``condition_scale * c``."""

    controlnet: Any
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Latents ``(M, 4, h, w)`` of pictures, some of which may be among the records', and of the conditions extracted from them."""

    z_0: torch.Tensor
    c: torch.Tensor


@dataclass(frozen=True, eq=False)
class People:
    """Which records show the same person: ``groups`` int64 ``(N,)``."""

    groups: torch.Tensor


class Releases:
    """A second release of the same picture."""


class Scenario:
    """Everything an attacker has, by type."""

    def __init__(self, *known: object) -> None:
        self._known: dict[type, object] = {type(item): item for item in known}
        for item in known:
            if isinstance(item, Base):
                self._known[Base] = item

    def get(self, kind: type[K]) -> K | None:
        """The knowledge of type ``kind``, or ``None`` where there is none."""
        found = self._known.get(kind)
        assert found is None or isinstance(found, kind)
        return found

    def __getitem__(self, kind: type[K]) -> K:
        found = self.get(kind)
        if found is None:
            raise UserError(f"no {kind.__name__} in this scenario", expected="what the attack names in NEEDS")
        return found

    def lacks(self, needs: tuple[type, ...]) -> tuple[type, ...]:
        """Those of ``needs`` that are not granted."""
        return tuple(kind for kind in needs if kind not in self._known)

    def having(self, *more: object) -> Scenario:
        """The same with more knowledge."""
        return Scenario(*self._known.values(), *more)

    def rows(self, count: int) -> Scenario:
        """The same of the first ``count`` records; what is not by record stays."""

        def cut(item: object) -> object:
            match item:
                case Latents(z, n):
                    return Latents(z[:, :count], n[:, :count])
                case Conditions(c, m):
                    return Conditions(c[:, :count], m[:, :count])
                case Noise(eps):
                    return Noise(eps[:, :count])
                case Mixed(h, activation):
                    return Mixed(h[:, :count], activation)
                case Activations(a):
                    return Activations(a[:, :count])
                case Contexts(context):
                    return Contexts(context[:count])
                case Captions(prompts):
                    return Captions(prompts[:count])
                case Files(images):
                    return Files(images[:count])
                case People(groups):
                    return People(groups[:count])
                case _:
                    return item

        return Scenario(*map(cut, self._known.values()))


# ------------------------------------------------------------------------------------ what comes back


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


@dataclass(frozen=True)
class NoChannel:
    """The scheme gives an attacker nothing of these types: the attack has nothing to work on."""

    missing: tuple[type, ...]

    def __str__(self) -> str:
        return "no " + ", no ".join(kind.__name__ for kind in self.missing)


class Lacking(UserError):
    """An attack found that it has nothing of these types to work on."""

    def __init__(self, *missing: type) -> None:
        self.missing = missing
        super().__init__("no " + ", no ".join(kind.__name__ for kind in missing))


@dataclass(frozen=True)
class Failed:
    """The attack ran and came to nothing, and why. That says nothing about safety."""

    cause: str


class Attack(Protocol):
    """What a module of this package looks like."""

    DESCRIPTION: str
    TARGETS: tuple[Target, ...]
    NEEDS: tuple[type, ...]
    COUNT: dict[Effort, int]

    def run(self, scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
        """Attack every record of ``scenario``; ``tell(done, total)`` reports progress."""
        ...


def attack(name: str) -> Any:
    """The attack called ``name``; an unknown name is answered with the known ones."""
    return registry.get("attacker.records", name)


def names() -> list[str]:
    """Every attack, sorted."""
    return registry.names("attacker.records")


def rows() -> list[str]:
    """Every attack and variant, as ``attempt`` takes them: ``NAME``, or ``NAME:VARIANT`` where a module has ``VARIANTS``."""
    return [f"{name}:{variant}" if variant else name for name in names() for variant in getattr(attack(name), "VARIANTS", ("",))]


def attempt(
    name: str, scenario: Scenario, *, effort: Effort = "quick", seed: int = 0, tell: Tell = lambda done, total: None
) -> Guess | NoChannel | Failed:
    """Run an attack on what a scenario grants.

    Args:
        name: of the attack, or ``NAME:VARIANT``.
        scenario: what leaked and what is known.
        effort: "quick" or "full".
        seed: of the attacker's own draws.
        tell: progress.
    """
    name, _, variant = name.partition(":")
    module, more = attack(name), {"variant": variant} if variant else {}
    missing = scenario.lacks(module.NEEDS)
    if missing:
        return NoChannel(missing)
    started = time.monotonic()
    try:
        guess: Guess = module.run(scenario, effort=effort, seed=seed, tell=tell, **more)
    except Lacking as lacking:
        return NoChannel(lacking.missing)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        return Failed(f"{type(error).__name__}: {error}")
    guess.seconds = time.monotonic() - started
    for what in ("z_0", "c", "embeddings", "scores"):
        value = getattr(guess, what)
        if value is not None and not bool(torch.as_tensor(value).isfinite().all()):
            return Failed(f"diverged: its {what} holds NaN or infinity")
    return guess
