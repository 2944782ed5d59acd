"""The attacks of an audit, each from what is known of the records; which of them go together, and in which order."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.records.base import Guess
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.judge.report import pages
from sfumato.studies.records import cell, matrix, pace
from sfumato.studies.records.audited import taken


@dataclass(frozen=True)
class Came:
    """What came of some attacks.

    Attributes:
        cells: by row its scores, or why there are none.
        leaked: what of it left an owner, and how many releases of each picture.
        kinds: the types that were known in the end.
    """

    cells: dict[str, dict[str, Any]]
    leaked: dict[str, int]
    kinds: set[type]


@dataclass(frozen=True, kw_only=True)
class Turns:
    """All that attacks of one audit need.

    Attributes:
        scenario, base: what is known, and the base.
        out: where pictures and a server's work go.
        condition, effort, seed: of the attacks.
        count: records that are audited.
        scored: what guesses are scored by, as ``cell.score`` takes it.
        rows: all attacks, and ``busy`` those that have something to work on: their time is told.
        tell: told how far an attack is.
    """

    scenario: Scenario
    base: Base
    out: Path
    condition: str
    effort: Effort
    seed: int
    count: int
    scored: dict[str, Any]
    rows: list[str]
    busy: list[str]
    tell: TellOf

    def units(self, jobs: int) -> list[list[str]]:
        """Rows that one process attacks one after the other: all of one attack, which share what it learned, and who
        asks it; the longest first. Of a single process each row is a unit, in the order given."""
        if jobs == 1:
            return [[row] for row in self.rows]
        together = [[row for _, row in unit] for unit in matrix.units([("records", row) for row in self.rows], together=True)]
        return sorted(together, key=lambda unit: -sum(pace.seconds(row, self.effort, self.count) or 0 for row in unit))

    def take(self, unit: list[str]) -> Came:
        """Attack by these rows, one after the other."""
        cells, known = {}, self.scenario
        for row in unit:
            number, started = self.rows.index(row), time.monotonic()
            ahead = pace.left([one for one in self.rows[number:] if one in self.busy], self.effort, self.count, self.base)
            telling = partial(self.tell, f"{row} ({number + 1} of {len(self.rows)}{ahead})")
            telling(0, 0)
            answer, known = cell.attack(
                known, row, self.base, self.out / "work", condition=self.condition, effort=self.effort, seed=self.seed,
                most=taken(row, self.effort, self.count), tell=telling,
            )  # fmt: skip
            scores = cell.score(answer, **self.scored)
            cells[row] = {**scores, "in all": time.monotonic() - started}
            if isinstance(answer, Guess) and scores["outcome"] == "scored":
                with suppress(Exception):  # scores are kept without a picture, too
                    cell.show(answer, self.base, self.out / "pictures" / f"{pages.named(row)}.npy")
        return Came(cells, known.leaked(), set(known.kinds()))
