"""What lies in a private folder: pictures to read, and everything else by name, so that nothing is passed over in silence.

A table that is not read stops the reading: whoever wrote it may have meant it to say which pictures may leave.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.core.outside import printable
from sfumato.owner.picture_file import SUFFIXES, UNREAD

TABLES = ("metadata.jsonl", "metadata.csv", "metadata.json")
CAPTIONS = (".txt", ".caption")  # beside a picture, by its name
_TABLE_SUFFIXES = frozenset((
    ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".psv", ".parquet", ".arrow", ".feather",
    ".avro", ".orc", ".xlsx", ".xls", ".xlsm", ".ods", ".numbers", ".sqlite", ".sqlite3", ".db",
    ".dbf", ".pkl", ".pickle", ".h5", ".hdf5", ".npz", ".sav", ".dta",
))  # fmt: skip
_SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_SHOWN, _NAME = 10, 60  # names in a note, characters of a name


@dataclass(frozen=True)
class Listing:
    """The entries of one folder, in the order of their names; nothing in it was opened.

    Attributes:
        where: the folder.
        pictures: regular files with a picture's suffix, links resolved.
        tables: names that look like tables, whatever they are.
        others: all other names by why they are not read.
    """

    where: Path
    pictures: tuple[Path, ...] = ()
    tables: tuple[str, ...] = ()
    others: dict[str, list[str]] = field(default_factory=dict)

    def names(self, why: str) -> list[str]:
        return self.others.get(why, [])


HIDDEN, FOLDER, NO_FILE, OTHER = "hidden", "folders are not searched", "not files", "no pictures by their names"


def scan(folder: Path, where: Path) -> Listing:
    """List ``where``, which is ``folder`` or lies in it.

    Raises:
        UserError: it cannot be listed, or it or a picture in it leads out of ``folder``.
    """
    inside(folder, str(where.relative_to(folder)), str(where))
    try:
        with os.scandir(where) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise UserError(f"{where}: could not be listed ({error.strerror})", expected="a folder that you may read") from error
    pictures: list[Path] = []
    tables: list[str] = []
    others: dict[str, list[str]] = {}
    stems = {Path(name).stem for name in names if _is_picture(name)}
    for name in names:
        path = where / name
        if name.startswith(".") or name.lower() in _SYSTEM or name == "__MACOSX":
            others.setdefault(HIDDEN, []).append(name)
        elif _is_table(name, stems) and not path.is_dir():
            tables.append(name)
        elif path.is_dir():
            others.setdefault(FOLDER, []).append(name)
        elif not _is_picture(name):
            others.setdefault(OTHER, []).append(name)
        else:
            found = inside(folder, str(path.relative_to(folder)), str(path))
            if is_file(found):
                pictures.append(found)
            else:
                others.setdefault(NO_FILE, []).append(name)
    return Listing(where, tuple(pictures), tuple(tables), others)


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES | UNREAD


def _is_table(name: str, stems: set[str]) -> bool:
    """Whether a name is a table's: by its suffixes, unless it is a picture's own, or because it begins as the ones that are read."""
    lower = name.casefold().strip()
    if _is_picture(name) or Path(name).stem in stems:
        return False
    return lower.startswith("metadata") or any(suffix in _TABLE_SUFFIXES for suffix in Path(lower).suffixes)


def refuse_unread(listing: Listing, *, read: str = "") -> list[str]:
    """The tables beside the one that was ``read``; where none was, or where one is called as it is, nothing is sealed.

    Raises:
        UserError: a table that is not read.
    """
    unread = [name for name in listing.tables if name != read]
    stops = [name for name in unread if not read or name.casefold().strip().startswith("metadata")]
    if stops:
        raise UserError(
            f"{listing.where / stops[0]}: a table that is not read" + (f" (nor are {len(stops) - 1} others)" if stops[1:] else ""),
            expected=f"{' or '.join(TABLES)}, with `file_name` in every row, in the folder that was named",
            fix="save it as one of these; or, if it says nothing of which pictures may leave, move it out of the folder",
            privacy="pictures that it leaves out would have been read with the others",
        )
    return unread


def is_file(path: Path) -> bool:
    """Whether ``path`` leads to a regular file: no pipe, device, folder, nothing that is not there or cannot be a name."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def inside(folder: Path, name: str, what: str) -> Path:
    """``folder / name`` with links resolved, refused where it leaves the folder."""
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{short(what, 200)}: not a path ({reason})", expected="a path relative to the folder") from error
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UserError(
            f"{short(what, 200)}: leads out of {folder}",
            expected="a path relative to the folder, inside it, links included",
            fix="copy the file into the folder",
            privacy="only what lies in the named folder is ever read",
        )
    return path


def short(name: str, most: int = _NAME) -> str:
    """A name as it can be shown: nothing that moves the cursor, and not too long."""
    said = printable(name).replace("\n", "\\n").replace("\t", "\\t")
    return said if len(said) <= most else f"{said[:most]}..."


def note(why: str, names: Iterable[str]) -> list[str]:
    """A line on what was left out, or none."""
    found = list(names)
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return [f"{len(found):,} left out ({why}): {', '.join(map(short, found[:_SHOWN]))}{more}"] if found else []


def alike(names: Iterable[str]) -> list[str]:
    """A line on names that differ in case alone, which are one name on some systems."""
    seen: dict[str, str] = {}
    twice = [(seen[name.casefold()], name) for name in names if seen.setdefault(name.casefold(), name) != name]
    return [f"names that differ in case alone: {short(a)}, {short(b)}: each is read as a picture of its own" for a, b in twice[:1]]
