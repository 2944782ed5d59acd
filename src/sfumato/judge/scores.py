"""What attacks came to, as types: a matrix has a ``Row`` for each attack, and each row its cells.

``studies.records.matrix.table`` writes them as JSON, with these names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sfumato.core import typed_json
from sfumato.core.typed_json import OMITTED


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How much of one target an attack got.

    Attributes:
        target: what it went for: ``picture``, ``person``, ``condition``, ``prompt``, ``candidate``.
        score, low, high: how much it got, with its 95 % interval.
        prior_only: what is got without any record.
        chance: what a guess at random gets.
        difference: ``score`` less ``prior_only``, with its 95 % interval.
        p, adjusted_p: of no difference; the second is corrected for every test of the matrix (Holm).
        n: over how many records.
        people: over how many people, whose pictures count together.
        verdict: in words; ``effective`` is whether it is that.
        beside: further scores, by name.
        gallery: among how many people it was looked for.
        guess: what the best guess without records gets.
    """

    target: str
    score: float
    low: float
    high: float
    prior_only: float
    chance: float
    difference: tuple[float, float, float]
    p: float
    adjusted_p: float
    n: int
    people: int
    verdict: str
    effective: bool
    beside: dict[str, float] | None = field(default=None, metadata=OMITTED)
    gallery: int | None = field(default=None, metadata=OMITTED)
    guess: float | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class Pool(Cell):
    """What an attack got of one pool of records: of its first target, and of each.

    Attributes:
        effective_targets: those against which it is effective.
        targets: every cell, by its target.
    """

    effective_targets: tuple[str, ...]
    targets: dict[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What an attack came to: where it got most, in every pool, and each of its variants.

    Attributes:
        outcome: ``scored``, or why there is no score: ``failed``, ``left out``, ``no channel``, ``not asked``, ``not tested``.
        why: what stood in the way, in words.
        seconds: how long it took.
        pools: by their name; empty without a score.
        variants: by their name, of an attack that has some; the row itself is the one that got most.

    The others are the best pool's, and None or absent without a score.
    """

    outcome: str
    target: str = ""
    why: str = ""
    effective: bool | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    prior_only: float | None = None
    chance: float | None = None
    n: int | None = None
    seconds: float = 0.0
    pools: dict[str, Pool] = field(default_factory=dict)
    difference: tuple[float, float, float] | None = field(default=None, metadata=OMITTED)
    p: float | None = field(default=None, metadata=OMITTED)
    adjusted_p: float | None = field(default=None, metadata=OMITTED)
    people: int | None = field(default=None, metadata=OMITTED)
    verdict: str | None = field(default=None, metadata=OMITTED)
    beside: dict[str, float] | None = field(default=None, metadata=OMITTED)
    gallery: int | None = field(default=None, metadata=OMITTED)
    guess: float | None = field(default=None, metadata=OMITTED)
    effective_targets: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    targets: dict[str, Cell] | None = field(default=None, metadata=OMITTED)
    variants: dict[str, Row] | None = field(default=None, metadata=OMITTED)

    @property
    def scored(self) -> bool:
        """Whether there is a score."""
        return self.outcome == "scored"


def rows(table: dict[str, Any], *, what: str = "attacks") -> dict[str, Row]:
    """One scheme's part of a matrix, by attack.

    Raises:
        UserError: a table of another form.
    """
    return typed_json.read(table, dict[str, Row], what=what)
