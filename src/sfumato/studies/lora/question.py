"""What is asked of a shared file: by whom, about whose pictures, and what its owner can do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sfumato.sharing.finding import Finding, Level, Measured
from sfumato.sharing.rules import found


@dataclass(frozen=True, kw_only=True, eq=False)
class Owned:
    """What an owner gives: pictures uint8 ``(N, H, W, 3)`` and whose they are, empty where that is not said."""

    images: np.ndarray
    people: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Which file is asked about, what the attacker knew of it, and what its owner can do."""

    path: str
    knew: str
    fix: str

    def finding(self, rule: str, figure: Measured, *, level: Level = "high") -> Finding:
        """A finding of the weights, with the figure that it rests on."""
        said = f"{figure.what}: {figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}], chance {figure.chance:.2g}, n = {figure.n}"
        return replace(found(rule, self.path, [said], place="the weights"), level=level, fix=self.fix)

    def measured(self, what: str, said: str, *, n: int, knew: str = "", **figure: float | None) -> Measured:
        """A figure of the weights: ``value``, ``low``, ``high`` and ``chance``. ``knew`` is what was known beside the rest."""
        return Measured(what=what, path=self.path, said=said, n=n, knew=self.knew + knew, **figure)
