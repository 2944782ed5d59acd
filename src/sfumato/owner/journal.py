"""A list on the disk that only grows: one JSON object a line, whole or absent after a kill at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from sfumato.core.artifact import sync_file, write_atomic
from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json, read_bytes

LEDGER_BYTES = 2**32
T = TypeVar("T")


class Journal(Generic[T]):
    """The lines of a file as entries, in their order.

    Args:
        path: the file; it need not exist yet.
        parse: an entry (a dataclass) from a line's JSON; raises where the line is not one.
        look: only read. Nothing is written, a torn line at the end is left as it is: somebody may be writing it now.

    Raises:
        UserError: a line that is damaged, or a file that cannot be read.
    """

    def __init__(self, path: Path, parse: Callable[[Any], T], *, look: bool = False) -> None:
        self._path, self._parse, self._look = path, parse, look
        self.entries: list[T] = []
        if os.path.lexists(path):
            self._read()

    def append(self, entry: T, *, privacy: str) -> None:
        """Add a line and wait until it is on the disk. The line waits beside the file until then: what a kill tore off is known by it.

        Args:
            entry: the line.
            privacy: what it means when it cannot be written, for the error.

        Raises:
            UserError: it could not be written.
        """
        if self._look:
            raise ValueError(f"{self._path}: opened to look at, not to write")
        line = json.dumps(asdict(entry)).encode() + b"\n"  # type: ignore[call-overload]
        try:
            write_atomic(self._next, line, private=True)
            with self._path.open("ab") as file:
                file.write(line)
            sync_file(self._path)
            self._next.unlink()
        except OSError as error:
            raise UserError(
                f"{self._path}: the ledger could not be written ({error.strerror})",
                fix="free some space and run the same command again",
                privacy=privacy,
            ) from error
        self.entries.append(entry)

    @property
    def _next(self) -> Path:
        return self._path.with_suffix(".next")

    def _read(self) -> None:
        data = read_bytes(self._path, what="ledger of releases", limit=LEDGER_BYTES)
        whole, _, torn = data.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        for number, line in enumerate(lines, 1):
            self.entries.append(self._entry(line, number))
        if torn:
            self._mend(torn, len(lines) + 1, at=len(data) - len(torn))

    def _mend(self, torn: bytes, number: int, *, at: int) -> None:
        """The last line, without its end. One that a kill tore off is dropped: what it stands for never happened. A whole one counts."""
        waiting = read_bytes(self._next, what="line of a ledger", limit=2**30) if self._next.exists() else b""
        if waiting != torn + b"\n" and waiting.startswith(torn):
            if not self._look:
                os.truncate(self._path, at)
            return
        try:
            self.entries.append(self._entry(torn, number))
        except UserError:
            if not self._look:  # whoever only looks may have come while it was written
                raise
            return
        if not self._look:
            with self._path.open("ab") as file:
                file.write(b"\n")

    def _entry(self, line: bytes, number: int) -> T:
        try:
            return self._parse(parse_json(line, name=f"line {number}"))
        except (UserError, ValueError, TypeError) as error:
            reason = error.got if isinstance(error, UserError) else str(error)
            raise UserError(
                f"{self._path}: line {number} is damaged ({reason})",
                fix="restore the ledger from a backup",
                privacy="without it nobody knows which pictures were released already; starting anew may release them twice",
            ) from error
