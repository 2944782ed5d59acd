"""Run an attack on what a scenario grants: a guess, or why there is none. What ran and came to nothing is never called safe.

An attack is a module with ``NEEDS``, the types of knowledge without which it makes no sense, ``MAY_USE``, those that it uses where they are
granted, and ``run(scenario, *, effort, seed, tell)``, which returns a ``Guess`` of its kind; where it has several ways, also ``VARIANTS``
and ``run(..., variant=...)``. It is handed what it declares and nothing else, and must not write on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch

from sfumato.attacker.knowledge import Scenario, Undeclared
from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell as Tell  # for attacks, of plug-ins too

Effort = Literal["glance", "quick", "full"]
EFFORTS: tuple[Effort, ...] = ("glance", "quick", "full")


class Guess(Protocol):
    """What an attack brings back: ``NUMBERS`` names those of its fields that must be finite where they are not None."""

    NUMBERS: ClassVar[tuple[str, ...]]
    seconds: float


G = TypeVar("G", bound=Guess)


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


def count(module: Any, effort: Effort, variant: str = "") -> int | None:
    """How many records an attack takes at an effort, by its ``COUNT``; None: then it is left out, or that variant of it."""
    counts: dict[Effort, int] = module.COUNT
    left_out = effort == "glance" and variant not in getattr(module, "GLANCED", (variant,))
    return None if left_out else counts.get(effort)


def declared(module: Any) -> tuple[type, ...]:
    """The types of knowledge that an attack is handed where they are granted."""
    return (*module.NEEDS, *getattr(module, "MAY_USE", ()))


class Attacks(Generic[G]):
    """All attacks of ``package`` (``attacker.records``, ``attacker.weights``), which guess ``G``."""

    def __init__(self, package: str) -> None:
        self.package = package

    def attack(self, name: str) -> Any:
        """The attack called ``name``; an unknown name is answered with the known ones."""
        return registry.get(self.package, name)

    def names(self) -> list[str]:
        """Every attack that can be used, sorted; of plug-ins that cannot, it is warned."""
        return registry.working(self.package)

    def rows(self) -> list[str]:
        """Every attack and variant, as ``attempt`` takes them: ``NAME``, or ``NAME:VARIANT`` where a module has ``VARIANTS``."""
        return [
            f"{name}:{variant}" if variant else name for name in self.names() for variant in getattr(self.attack(name), "VARIANTS", ("",))
        ]

    def chosen(self, names: str) -> tuple[str, ...]:
        """Rows by what somebody typed: ``all`` gives none, which stands for every one; else names with commas, with or without a variant.

        Raises:
            UserError: a name that no attack has, or none at all.
        """
        if names == "all":
            return ()
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        rows = tuple(row for row in self.rows() if row in wanted or row.partition(":")[0] in wanted)
        unknown = [name for name in wanted if name not in (*rows, *(row.partition(":")[0] for row in rows))]
        if unknown or not rows:
            raise UserError(f"unknown attack {(unknown or ['(none)'])[0]!r}", expected=f"all, or some of {', '.join(self.rows())}")
        return rows

    def attempt(
        self, row: str, scenario: Scenario, *, effort: Effort = "quick", seed: int = 0, tell: Tell = lambda done, total: None
    ) -> G | NoChannel | Failed:
        """Run an attack on what it declares of a scenario.

        Args:
            row: an attack's name, or ``NAME:VARIANT``.
            scenario: what leaked and what is known.
            effort: "glance", "quick" or "full"; an attack that has no ``COUNT`` for a glance makes the quick effort.
            seed: of the attacker's own draws.
            tell: progress.
        """
        name, _, variant = row.partition(":")
        module, more = self.attack(name), {"variant": variant} if variant else {}
        missing = scenario.lacks(module.NEEDS)
        if missing:
            return NoChannel(missing)
        if effort == "glance" and "glance" not in getattr(module, "COUNT", ()):
            effort = "quick"
        given = scenario.only(declared(module))
        before, started = given.state(), time.monotonic()
        try:
            guess: G = module.run(given, effort=effort, seed=seed, tell=tell, **more)
        except Lacking as lacking:
            return NoChannel(lacking.missing)
        except (ArithmeticError, RuntimeError, ValueError, Undeclared) as error:
            return Failed(f"{type(error).__name__}: {error}")
        guess.seconds = time.monotonic() - started
        after = given.state()
        if changed := [name for name, value in before.items() if after.get(name) != value]:
            return Failed(f"it wrote on what it was given: {', '.join(changed)}")
        for what in guess.NUMBERS:
            value = getattr(guess, what)
            if value is not None and not bool(torch.as_tensor(value).isfinite().all()):
                return Failed(f"diverged: its {what} holds NaN or infinity")
        return guess
