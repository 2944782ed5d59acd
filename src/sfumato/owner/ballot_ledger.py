"""Which ballots an owner cast, on the owner's disk only: one for each round of a pool, and no more than was agreed.

It lies beside the release ledger, under the same key and lock. A line holds the ballot itself: after a
kill the very same one is written again, with no second draw. Sealed records and ballots of the same
pictures compose: each ledger is asked for what the other has to count.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sfumato.core.artifact import sha256
from sfumato.owner.journal import Journal
from sfumato.owner.release_ledger import Entry

NAME = "ballots.jsonl"
_TEXTS = ("owner", "pool", "menu", "unit", "settings", "ballot")


@dataclass(frozen=True)
class Cast:
    """One ballot that was cast.

    Attributes:
        owner: the name that signed it.
        pool, round, menu: what it is for; the menu's digest.
        unit, epsilon, delta, rounds: what was agreed for the pool.
        mu: of this ballot, for its unit, add-or-remove; None where its noise came from a seed.
        settings: a keyed name of the pictures and people that voted.
        pictures, files, people: keyed names of all that voted; without names of people, none.
        ballot: the file, as text.
    """

    owner: str
    pool: str
    round: int
    menu: str
    unit: str
    epsilon: float
    delta: float
    rounds: int
    mu: float | None
    settings: str
    pictures: list[str]
    files: list[str]
    people: list[str]
    ballot: str

    @property
    def names(self) -> set[str]:
        """Keyed names of all that voted."""
        return {*self.pictures, *self.files, *self.people}

    @property
    def agreed(self) -> tuple[str, float, float, int]:
        """Unit, epsilon, delta and rounds."""
        return self.unit, self.epsilon, self.delta, self.rounds


class BallotLedger:
    """An append-only list of ballots.

    Args:
        folder, key: of the release ledger.
        look: only read.
    """

    def __init__(self, folder: Path, key: bytes, *, look: bool = False) -> None:
        self._journal = Journal(folder / NAME, _checked, look=look)
        self._key = key

    @property
    def entries(self) -> list[Cast]:
        """Every ballot, in the order in which they were cast."""
        return self._journal.entries

    def person(self, name: str) -> str:
        """The keyed name of a person, as the folder's table calls them."""
        return self._named(b"person" + name.encode())

    def settings(self, names: Iterable[str]) -> str:
        """A keyed name of all that votes."""
        return self._named(b"all" + " ".join(names).encode())

    def _named(self, data: bytes) -> str:
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def others(self, names: Collection[str], *, pool: str) -> list[Cast]:
        """Ballots in other pools by any of these pictures, files or people."""
        wanted = set(names)
        return [one for one in self.entries if one.pool != pool and not wanted.isdisjoint(one.names)]

    def append(self, cast: Cast) -> None:
        """Add a line and wait until it is on the disk. Raises UserError where it could not be written."""
        self._journal.append(cast, privacy="no vote was spent: an unrecorded ballot could be repeated")

    def as_releases(self) -> list[Entry]:
        """Every ballot as the release ledger counts: replace-one, and one record for each picture.

        Where a picture is replaced, a person's votes move by twice as much at most as where the person
        is taken out; so mu is doubled, and what is said of zeroing a picture out is half of it again.
        """
        return [
            Entry(
                f"ballot {one.pool} {one.round} {one.owner}", sha256(one.ballot.encode()), len(one.pictures), len(one.ballot),
                one.pictures, one.files, None if one.mu is None else 2 * one.mu,
            )
            for one in self.entries
        ]  # fmt: skip


def _checked(row: Any) -> Cast:
    """A ballot's line in which every value is what it should be."""
    if not isinstance(row, dict) or set(row) != {one.name for one in fields(Cast)}:
        raise ValueError("not the names that a line has")
    cast = Cast(**row)
    if not all(isinstance(getattr(cast, name), str) and getattr(cast, name) for name in _TEXTS):
        raise ValueError("a name or text that is none")
    if any(type(value) is not int or value < 1 for value in (cast.round, cast.rounds)):
        raise ValueError("rounds that are no numbers from 1 up")
    numbers = (cast.epsilon, cast.delta, 1.0 if cast.mu is None else cast.mu)
    if any(type(value) not in (int, float) or not 0 < value < math.inf for value in numbers):
        raise ValueError("an epsilon, a delta or a mu that is no number above 0")
    for names in (cast.pictures, cast.files, cast.people):
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError("names that are no list of texts")
    if not cast.pictures or len(cast.pictures) != len(cast.files):
        raise ValueError("lists of other lengths than its pictures")
    return cast
