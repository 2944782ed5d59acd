"""Run an attack on what a scenario grants: a guess, or why there is none. What ran and came to nothing is never called safe.

An attack is a module with ``NEEDS``, the types of knowledge without which it makes no sense, and ``run(scenario, *, effort, seed, tell)``,
which returns a ``Guess`` of its kind; where it has several ways, also ``VARIANTS`` and ``run(..., variant=...)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch

from sfumato.attacker.knowledge import Scenario
from sfumato.core import registry
from sfumato.core.errors import UserError

Effort = Literal["quick", "full"]
EFFORTS: tuple[Effort, ...] = ("quick", "full")
Tell = Callable[[int, int], None]


class Guess(Protocol):
    """What an attack brings back: ``NUMBERS`` names those of its fields that must be finite where they are not None."""

    NUMBERS: ClassVar[tuple[str, ...]]
    seconds: float


@dataclass(frozen=True)
class NoChannel:
    """There is nothing of these types for an attacker: the attack has nothing to work on."""

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


def names(package: str) -> list[str]:
    """Every attack of ``package`` (``attacker.records``, ``attacker.weights``), sorted."""
    return registry.names(package)


def rows(package: str) -> list[str]:
    """Every attack and variant, as ``attempt`` takes them: ``NAME``, or ``NAME:VARIANT`` where a module has ``VARIANTS``."""
    return [
        f"{name}:{variant}" if variant else name
        for name in names(package)
        for variant in getattr(registry.get(package, name), "VARIANTS", ("",))
    ]


def attempt(package: str, row: str, scenario: Scenario, *, effort: Effort, seed: int, tell: Tell = lambda done, total: None) -> Any:
    """A ``Guess`` of the package's kind, ``NoChannel``, or ``Failed``.

    Args:
        package: ``attacker.records`` or ``attacker.weights``.
        row: an attack's name, or ``NAME:VARIANT``.
        scenario: what leaked and what is known.
        effort: "quick" or "full".
        seed: of the attacker's own draws.
        tell: progress.
    """
    name, _, variant = row.partition(":")
    module, more = registry.get(package, name), {"variant": variant} if variant else {}
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
    for what in guess.NUMBERS:
        value = getattr(guess, what)
        if value is not None and not bool(torch.as_tensor(value).isfinite().all()):
            return Failed(f"diverged: its {what} holds NaN or infinity")
    return guess
