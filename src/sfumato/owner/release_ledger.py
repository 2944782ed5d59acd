"""What an owner has released before, on the owner's disk only: a picture is sealed once.

A second release is a second draw of the noise; draws average out. Pictures are named by a keyed HMAC of their pixels, so the ledger
itself tells nothing to whoever lacks the key. The ledger is also the journal of a running seal: a line is on the disk *before* its
shard gets its final name, so a kill at any moment leaves the two one to one.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from sfumato.core.errors import UserError


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


class ReleaseLedger:
    """An append-only list of released shards."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._path = folder / "releases.jsonl"
        self._key = key
        self.entries: list[Entry] = []
        if self._path.exists():
            self._read()

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
        """Names of the pictures and files of a release, or of all the ``others``."""
        return {name for entry in self.entries if (entry.release != release) == others for name in (*entry.pictures, *entry.files)}

    def draws(self, release: str) -> list[list[float | None]]:
        """The records of which a release holds some, in groups of the same: the mu of every record of a group that was ever released.

        Records are of the same where their pictures, files or supplied conditions are, or where a third record links them.
        """
        group: dict[str, str] = {}

        def root(name: str) -> str:
            while group.setdefault(name, name) != name:
                group[name] = group[group[name]]
                name = group[name]
            return name

        records = [(entry, names) for entry in self.entries for names in _rows(entry)]
        for _, names in records:
            for name in names[1:]:
                group[root(name)] = root(names[0])
        mus: dict[str, list[float | None]] = {}
        for entry, names in records:
            mus.setdefault(root(names[0]), []).append(entry.mu)
        return [mus[group] for group in dict.fromkeys(root(names[0]) for entry, names in records if entry.release == release)]

    def append(self, entry: Entry) -> None:
        """Add a line and wait until it is on the disk."""
        line = json.dumps(asdict(entry)).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self._path}: the ledger could not be written ({error.strerror})",
                fix="free some space and run the same command again",
                privacy="the shard was not released: an unrecorded release could be repeated",
            ) from error
        self.entries.append(entry)

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:  # killed while writing: the shard of this line never got its name
            os.truncate(self._path, len(data) - len(torn))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self.entries.append(Entry(**json.loads(line)))
            except (json.JSONDecodeError, TypeError) as error:
                raise UserError(
                    f"{self._path}: line {number} is damaged",
                    fix="restore the ledger from a backup",
                    privacy="without it nobody knows which pictures were released already; starting anew may release them twice",
                ) from error


def _rows(entry: Entry) -> list[tuple[str, ...]]:
    return list(zip(*filter(None, (entry.pictures, entry.files, entry.conditions)), strict=True))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the ledger; a second seal at the same time is turned away."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError("another seal is running on this machine", fix="wait for it to end") from error
        yield
