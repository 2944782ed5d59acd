"""What an owner has released before, on the owner's disk only: a picture is sealed once.

A second release is a second draw of the noise; draws average out. Pictures are named by a keyed HMAC of their pixels, so the ledger
itself tells nothing to whoever lacks the key. The ledger is also the journal of a running seal: a line is on the disk *before* its
shard gets its final name, so a kill at any moment leaves the two one to one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.core.lock import held
from sfumato.owner.journal import Journal

RELEASES, TRIALS, WITHDRAWN = "releases.jsonl", "trials.jsonl", "withdrawn.jsonl"


@dataclass(frozen=True)
class Entry:
    """One released shard: its release, its records by keyed names, and the mu of one record (``None``: not bounded).

    Record i is ``pictures[i]`` by its pixels and ``files[i]`` by its file; ``conditions[i]``, where conditions were supplied.
    """

    release: str
    sha256: str
    records: int
    bytes: int
    pictures: list[str]
    files: list[str]
    mu: float | None
    conditions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Withdrawal:
    """What an owner said of a release, as it was said: that it never left this machine. ``said`` are the words, ``when`` a UTC time."""

    release: str
    records: int
    said: str
    when: str


class ReleaseLedger:
    """An append-only list of released shards, and of the releases that their owner withdrew.

    Args:
        folder: where it lies.
        key: of the pictures' names.
        trials: the list of trials instead: it tells which record is which picture, counts nothing and is never asked what was released.
        look: only read, whatever another process writes meanwhile.
    """

    def __init__(self, folder: Path, key: bytes, *, trials: bool = False, look: bool = False) -> None:
        self._journal = Journal(folder / (TRIALS if trials else RELEASES), _checked, look=look)
        self._said = None if trials else Journal(folder / WITHDRAWN, _checked_withdrawal, look=look)
        self._key = key

    @property
    def entries(self) -> list[Entry]:
        """Every released shard, in the order in which they were written."""
        return self._journal.entries

    @property
    def withdrawn(self) -> frozenset[str]:
        """Releases that never left, by their owner's word."""
        return frozenset(one.release for one in self._said.entries) if self._said else frozenset()

    def name(self, image: np.ndarray) -> str:
        """The keyed name of a picture: HMAC-SHA-256 of its uint8 pixels as they go into the VAE."""
        return hmac.new(self._key, repr(image.shape).encode() + image.tobytes(), hashlib.sha256).hexdigest()

    def file_name(self, path: Path) -> str:
        """The keyed name of a file's bytes: the same at every picture size and in every version of a decoder."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return hmac.new(self._key, b"file" + digest.digest(), hashlib.sha256).hexdigest()

    def of_release(self, release: str) -> list[Entry]:
        """The shards of one release, in the order in which they were written."""
        return [entry for entry in self.entries if entry.release == release]

    def names(self, release: str, *, others: bool = False) -> set[str]:
        """Names of the pictures and files of a release, or of all the ``others`` that were not withdrawn."""
        counted = [entry for entry in self._counted(release) if (entry.release != release) == others]
        return {name for entry in counted for name in (*entry.pictures, *entry.files)}

    def _counted(self, release: str) -> list[Entry]:
        """All entries but those of other releases that were withdrawn."""
        gone = self.withdrawn - {release}
        return [entry for entry in self.entries if entry.release not in gone]

    def counted(self) -> list[tuple[frozenset[str], float | None]]:
        """Every record that was not withdrawn: its names, and its mu (replace-one; ``None``: not bounded)."""
        return [(frozenset(names), entry.mu) for entry in self._counted("") for names in _rows(entry)]

    def withdrawn_of(self, release: str, *, more: Iterable[Entry] = ()) -> int:
        """How many other releases were withdrawn that hold a picture, file or supplied condition of a release.

        Args:
            release: the release.
            more: entries that are in another list, such as those of a trial.
        """
        own = {name for entry in (*self.entries, *more) if entry.release == release for row in _rows(entry) for name in row}
        gone = self.withdrawn - {release}
        return len({
            entry.release for entry in self.entries if entry.release in gone and any(own.intersection(row) for row in _rows(entry))
        })  # fmt: skip

    def draws(self, release: str, *, more: Iterable[Entry] = ()) -> list[list[float | None]]:
        """The records of which a release holds some, in groups of the same: the mu of every record of a group that was ever released.

        Records are of the same where their pictures, files or supplied conditions are, or where a third record links them.

        Args:
            release: the release.
            more: entries that are in another list, such as those of a trial.
        """
        group: dict[str, str] = {}

        def root(name: str) -> str:
            while group.setdefault(name, name) != name:
                group[name] = group[group[name]]
                name = group[name]
            return name

        records = [(entry, names) for entry in (*self._counted(release), *more) for names in _rows(entry)]
        for _, names in records:
            for name in names[1:]:
                group[root(name)] = root(names[0])
        mus: dict[str, list[float | None]] = {}
        for entry, names in records:
            mus.setdefault(root(names[0]), []).append(entry.mu)
        return [mus[group] for group in dict.fromkeys(root(names[0]) for entry, names in records if entry.release == release)]

    def append(self, entry: Entry) -> None:
        """Add a line and wait until it is on the disk.

        Raises:
            UserError: it could not be written.
        """
        self._journal.append(entry, privacy="the shard was not released: an unrecorded release could be repeated")

    def withdraw(self, release: str, *, said: str) -> None:
        """Add what an owner says of a release; nothing that the ledger holds is changed, and what was said before is not said again.

        Raises:
            UserError: it could not be written.
        """
        if self._said is None:
            raise ValueError("a trial is not counted: there is nothing to withdraw")
        if release in self.withdrawn:
            return
        records = sum(entry.records for entry in self.of_release(release))
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self._said.append(Withdrawal(release, records, said, when), privacy="nothing was withdrawn: the release counts as before")


def _checked_withdrawal(row: Any) -> Withdrawal:
    """A withdrawal in which every value is what it should be."""
    if not isinstance(row, dict) or set(row) != {one.name for one in fields(Withdrawal)}:
        raise ValueError("not the names that a line has")
    found = Withdrawal(**row)
    if not all(isinstance(value, str) and value for value in (found.release, found.said, found.when)):
        raise ValueError("a release, words or a time that are no text")
    if type(found.records) is not int or found.records < 1:
        raise ValueError("records that are no number from 1 up")
    return found


def _checked(row: Any) -> Entry:
    """An entry in which every value is what it should be."""
    if not isinstance(row, dict):
        raise ValueError("no object")
    wanted = {one.name: one.default_factory is MISSING for one in fields(Entry)}
    if not set(row) <= set(wanted) or not all(name in row for name, needed in wanted.items() if needed):
        raise ValueError("not the names that a line has")
    entry = Entry(**row)
    if not all(isinstance(value, str) and value for value in (entry.release, entry.sha256)):
        raise ValueError("a release or digest that is no text")
    if any(type(value) is not int or value < 1 for value in (entry.records, entry.bytes)):
        raise ValueError("records or bytes that are no number from 1 up")
    for names in (entry.pictures, entry.files, entry.conditions):
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError("names that are no list of texts")
    if {len(entry.pictures), len(entry.files), len(entry.conditions) or entry.records} != {entry.records}:
        raise ValueError("lists of other lengths than its records")
    if entry.mu is not None and (type(entry.mu) not in (int, float) or entry.mu < 0):
        raise ValueError("a mu that is no number from 0 up")
    return entry


def _rows(entry: Entry) -> list[tuple[str, ...]]:
    return list(zip(*filter(None, (entry.pictures, entry.files, entry.conditions)), strict=True))


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the ledger; a second seal at the same time is turned away."""
    return held(folder / "lock", what="seal")
