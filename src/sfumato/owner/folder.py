"""Read a private folder of pictures, their conditions and captions, one example at a time.

Three layouts, tried in this order:

* diffusers' imagefolder: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name``, optionally
  ``conditioning_image_file_name``, ``text`` and ``person``; pictures that no row names are left out;
* pairs: ``images/``, optionally ``conditions/`` and ``captions/*.txt``, matched by the file name without its suffix;
* pictures: the folder's own pictures, without captions.

Supplied conditions are read only for ``given``; any other is extracted from the picture, so that what
the manifest names is what was done. Nothing outside the folder is opened, by ``../`` or by a link. Only paths and
metadata captions stay in memory, never pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.owner.picture_file import SUFFIXES, read_picture, shape_of

METADATA = ("metadata.jsonl", "metadata.csv")
CONDITION_COLUMN = "conditioning_image_file_name"


@dataclass(frozen=True)
class Example:
    """One picture of a folder, read when asked for.

    Attributes:
        path: the picture's file.
        condition_path: the supplied condition's file, or None where the condition is extracted.
        size: side of the loaded pictures, in pixels.
        text: the caption, or the file that holds it.
        person: who is on it, by any name; empty where nobody says. It is read for audits alone and never leaves.
    """

    path: Path
    condition_path: Path | None
    size: int
    text: str | Path = ""
    person: str = ""

    def image(self) -> np.ndarray:
        """The picture, uint8 RGB ``(size, size, 3)``. Raises UserError naming a file that cannot be read."""
        return read_picture(self.path, size=self.size)

    def condition(self) -> np.ndarray | None:
        """The supplied condition, uint8 RGB ``(size, size, 3)``, or None where it is extracted."""
        if self.condition_path is None:
            return None
        (w, h), (cw, ch) = shape_of(self.path), shape_of(self.condition_path)
        if abs(w / h - cw / ch) > 0.02 * w / h:
            raise UserError(
                f"{self.condition_path}: {cw}x{ch} pixels, but its picture {self.path.name} has {w}x{h}",
                expected="a condition of its picture's proportions: both are cropped to the middle square",
                fix="make the condition from the picture as it is displayed (EXIF rotation applied)",
            )
        return read_picture(self.condition_path, size=self.size)

    @property
    def caption(self) -> str:
        """The caption, empty where there is none."""
        if isinstance(self.text, str):
            return self.text
        try:
            return self.text.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.text}: the caption could not be read ({error})", expected="a text file in UTF-8") from error


@dataclass(frozen=True)
class Loaded:
    """One example in memory: ``image`` and ``condition`` uint8 RGB ``(size, size, 3)``."""

    image: np.ndarray
    condition: np.ndarray
    caption: str


@dataclass(frozen=True)
class Folder:
    """A private folder, ready to be streamed.

    A bad file does not end the iteration; the caller decides::

        for example in folder:
            try:
                loaded = folder.load(example)
            except UserError as report:
                reports.append(report)
    """

    path: Path
    size: int
    condition: str
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def captioned(self) -> int:
        """How many examples come with a caption (an empty one counts where it is a file)."""
        return sum(bool(example.text) for example in self.examples)

    def load(self, example: Example) -> Loaded:
        """Read one example with its caption. Raises like ``pixels``."""
        return Loaded(*self.pixels(example), example.caption)

    def pixels(self, example: Example) -> tuple[np.ndarray, np.ndarray]:
        """Picture and condition of one example, uint8 RGB ``(size, size, 3)``, the condition extracted where none is supplied.

        Raises:
            UserError: a file of the example cannot be read; names the file.
        """
        image = example.image()
        condition = example.condition()
        if condition is None:
            condition = registry.get("conditions", self.condition).extract(image)
        return image, condition


def read_folder(folder: Path, *, size: int, condition: str) -> Folder:
    """List the examples of ``folder``; no picture is opened yet.

    Args:
        folder: one of the layouts above.
        size: side of the loaded pictures in pixels, cropped to the middle square.
        condition: a registered condition; ``given`` reads the folder's own.

    Raises:
        UserError: no such folder, nothing in it, a row that points nowhere or outside, or a missing condition.
        ValueError: unknown condition.
    """
    folder = Path(folder)
    given = bool(getattr(registry.get("conditions", condition), "SUPPLIED", False))
    if size < 1:
        raise UserError(f"picture size {size}", expected="at least one pixel")
    if not folder.is_dir():
        got = f"{folder}: {'a file' if folder.exists() else 'no such folder'}"
        raise UserError(got, expected="a folder of pictures", fix="check the spelling of the path")
    tables = [name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise UserError(f"{folder}: both {' and '.join(tables)}", expected="one of them", fix="remove the one that is out of date")
    if tables:
        found = _from_metadata(folder, tables[0], given=given, size=size)
    elif (folder / "images").is_dir():
        found = _from_pairs(folder, given=given, size=size)
    else:
        found = [Example(path, None, size) for path in _pictures(folder, folder)]
        if found and given:
            raise UserError(
                f"{folder}: pictures without conditions, but the condition is '{condition}'",
                expected=f"metadata.jsonl with `file_name` and `{CONDITION_COLUMN}`, or the folders images/ and conditions/",
                fix="supply the conditions, or name an extractor such as 'canny'",
            )
    if not found:
        raise _empty(folder, tables)
    return Folder(folder, size, condition, tuple(found))


# ---------------------------------------------------------------- layouts


def _from_metadata(folder: Path, table: str, *, given: bool, size: int) -> list[Example]:
    found: list[Example] = []
    lines: dict[Path, int] = {}
    for line, row in _rows(folder / table):
        where = f"{folder / table} line {line}"
        path = _named(folder, row, "file_name", where)
        condition = _named(folder, row, CONDITION_COLUMN, where) if given else None
        for named in filter(None, (path, condition)):
            if named in lines:
                raise UserError(
                    f"{where}: {named.relative_to(folder.resolve())} was named before, in line {lines[named]}",
                    expected="a picture, and a condition of its own, in each row",
                    fix="remove one of the rows",
                    privacy="every record draws noise anew: what is in two of them shows through",
                )
            lines[named] = line
        words = {column: row.get(column) for column in ("text", "person")}
        for column, value in words.items():
            if not isinstance(value, str | None):
                raise UserError(f"{where}: `{column}` is {json.dumps(value)}", expected="words in quotes")
        text, person = ((value or "").strip() for value in words.values())
        found.append(Example(path, condition, size, text, person))
    return found


def _from_pairs(folder: Path, *, given: bool, size: int) -> list[Example]:
    images = _by_stem(folder, "images")
    conditions = _by_stem(folder, "conditions") if given else {}
    missing = [stem for stem in images if stem not in conditions] if given else []
    if missing:
        raise UserError(
            f"{folder / 'conditions'}: no condition for {len(missing)} of {len(images)} pictures, such as {images[missing[0]].name}",
            expected=f"a picture named {missing[0]} (.png, .jpg ...) in conditions/",
            fix="add it, or name an extractor such as 'canny'",
        )
    captions = {stem: folder / "captions" / f"{stem}.txt" for stem in images}
    texts = {stem: _inside(folder, str(path.relative_to(folder)), str(path)) for stem, path in captions.items() if path.is_file()}
    return [Example(path, conditions.get(stem), size, texts.get(stem, "")) for stem, path in images.items()]


def _by_stem(folder: Path, name: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _pictures(folder, folder / name):
        if path.stem in found:
            raise UserError(
                f"{folder / name}: both {found[path.stem].name} and {path.name}",
                expected="names that differ without their suffix: pictures, conditions and captions are matched by them",
                fix="rename or remove one of the two",
            )
        found[path.stem] = path
    return found


def _pictures(folder: Path, where: Path) -> list[Path]:
    """The pictures directly in ``where``, in the order of their names."""
    seen = (p for p in (where.iterdir() if where.is_dir() else ()) if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return [_inside(folder, str(p.relative_to(folder)), str(p)) for p in sorted(seen) if p.is_file()]


# ---------------------------------------------------------------- metadata


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a metadata file with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if path.suffix == ".csv":
                reader = csv.DictReader(lines)
                for row in reader:
                    if None in row:
                        raise UserError(
                            f"{path} line {reader.line_num}: more cells than columns",
                            expected=f"the columns {', '.join(reader.fieldnames or [])}",
                            fix="put captions that contain a comma in double quotes",
                        )
                    yield reader.line_num, {str(key): value for key, value in row.items()}
                return
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise UserError(f"{path} line {number}: not an object", expected='one {"file_name": ...} a line')
                    yield number, row
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} line {number}: not JSON ({error.msg})",
            expected='one object a line: {"file_name": "0001.png", "text": "..."}',
            fix="write every row on a line of its own, without commas between rows",
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: could not be read ({error})", expected="a text file in UTF-8") from error


def _named(folder: Path, row: dict[str, Any], column: str, where: str) -> Path:
    """The file that ``column`` of ``row`` names."""
    name = row.get(column)
    if not isinstance(name, str) or not name:
        got = f"`{column}` is {json.dumps(name)}" if column in row else f"no `{column}` (it has {', '.join(map(str, row)) or 'nothing'})"
        other = ", or name an extractor such as 'canny'" if column == CONDITION_COLUMN else ""
        expected = f"`{column}` with a path relative to {folder}"
        raise UserError(f"{where}: {got}", expected=expected, fix=f"add `{column}` to every row{other}")
    path = _inside(folder, name, f"{where}: {name}")
    if not path.is_file():
        got = f"`{column}` names {name}, which is not there"
        raise UserError(f"{where}: {got}", expected=f"a file at {folder / name}", fix="correct or remove the row")
    return path


def _inside(folder: Path, name: str, what: str) -> Path:
    """``folder / name`` with links resolved, refused where it leaves the folder."""
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{what!r}: not a path ({error})", expected="a path relative to the folder") from error
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UserError(
            f"{what}: leads out of {folder}",
            expected="a path relative to the folder, inside it, links included",
            fix="copy the file into the folder",
            privacy="only what lies in the named folder is ever read",
        )
    return path


def _empty(folder: Path, tables: list[str]) -> UserError:
    if tables:
        return UserError(f"{folder / tables[0]}: no rows", expected="one row for each picture")
    below = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir())[:5])
    return UserError(
        f"{folder}: no pictures in it" + (f" (its folders: {below})" if below else ""),
        expected=f"pictures ({' '.join(sorted(SUFFIXES))}), or metadata.jsonl, or images/ with pictures",
        fix="pass the folder that holds the pictures or the metadata: subfolders are not searched",
    )
