"""Read a private folder of pictures, their conditions and captions, one example at a time.

Four layouts, tried in this order:

* diffusers' imagefolder: ``metadata.jsonl``, ``metadata.csv`` or ``metadata.json`` with ``file_name``, optionally
  ``conditioning_image_file_name``, ``text`` (or ``caption``) and ``person``; pictures that no row names are left out;
* pairs: ``images/``, optionally ``conditions/`` and ``captions/*.txt``, matched by the file name without its suffix;
* pictures: the folder's own pictures;
* kohya's: no pictures, but folders called ``10_word name`` (``owner.repeats``).

In each a picture without a caption may have one beside it, ``a.txt`` or ``a.caption`` for ``a.png``.

Supplied conditions are read only for ``given``; any other is extracted from the picture, so that what
the manifest names is what was done. Nothing outside the folder is opened, by ``../`` or by a link. What is not read is
named in ``Folder.notes``, and a table that is not read stops the reading. Only paths and captions of tables stay in memory,
never pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.core.outside import read_bytes
from sfumato.owner import listing, repeats, table
from sfumato.owner.listing import FOLDER, HIDDEN, NO_FILE, OTHER, TABLES, Listing, inside, is_file, note
from sfumato.owner.picture_file import BLACK, CROP, SUFFIXES, Crop, is_square, read_picture, shape_of

CAPTION_BYTES = 2**20


@dataclass(frozen=True)
class Example:
    """One picture of a folder, read when asked for.

    Attributes:
        path: the picture's file.
        condition_path: the supplied condition's file, or None where the condition is extracted.
        size: side of the loaded pictures, in pixels.
        text: the caption, or the file that holds it.
        person: who is on it, by any name; empty where nobody says. It is read for audits, guarantees and votes, and never leaves.
        crop: what is done with a picture that is no square; its condition is treated alike.
        words, repeats: of the folder it lies in, where that is one of kohya's.
    """

    path: Path
    condition_path: Path | None
    size: int
    text: str | Path = ""
    person: str = ""
    crop: Crop = CROP
    words: str = ""
    repeats: int = 1

    def image(self) -> np.ndarray:
        """The picture, uint8 RGB ``(size, size, 3)``. Raises UserError naming a file that cannot be read."""
        return read_picture(self.path, size=self.size, crop=self.crop)

    def condition(self) -> np.ndarray | None:
        """The supplied condition, uint8 RGB ``(size, size, 3)``, or None where it is extracted."""
        if self.condition_path is None:
            return None
        (w, h), (cw, ch) = shape_of(self.path), shape_of(self.condition_path)
        if abs(w / h - cw / ch) > 0.02 * w / h:
            raise UserError(
                f"{self.condition_path}: {cw}x{ch} pixels, but its picture {self.path.name} has {w}x{h}",
                expected="a condition of its picture's proportions: both are cut or padded to the same square",
                fix="make the condition from the picture as it is displayed (EXIF rotation applied)",
            )
        return read_picture(self.condition_path, size=self.size, crop=self.crop, beside=BLACK)

    @property
    def cropped(self) -> bool:
        """Whether the picture is no square, so that only its middle is taken (or, with ``pad``, something put beside it)."""
        return not is_square(self.path)

    @property
    def caption(self) -> str:
        """The caption, empty where there is none."""
        if isinstance(self.text, str):
            return self.text
        data = read_bytes(self.text, what="a caption", limit=CAPTION_BYTES)
        try:
            return data.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
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

    Attributes:
        supplied: how many conditions the folder brings, whether or not they are used.
        notes: what its owner should know: what was left out and why, a line each.
        columns: of its table, where it has one, as they can be shown.
        crop: what is done with pictures that are no squares.
    """

    path: Path
    size: int
    condition: str
    examples: tuple[Example, ...]
    supplied: int = 0
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    crop: Crop = CROP

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


def read_folder(folder: Path, *, size: int, condition: str, crop: Crop = CROP) -> Folder:
    """List the examples of ``folder``; no picture is opened yet.

    Args:
        folder: one of the layouts above.
        size: side of the loaded pictures in pixels.
        condition: a registered condition; ``given`` reads the folder's own.
        crop: to the middle square, padded, or squares alone.

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
    top = listing.scan(folder, folder)
    tables = [name for name in TABLES if name in top.tables]
    if len(tables) > 1:
        raise UserError(f"{folder}: both {' and '.join(tables)}", expected="one of them", fix="remove the one that is out of date")
    columns: dict[str, None] = {}
    if tables:
        found, supplied, notes = _from_table(top, tables[0], columns, given=given, size=size)
    elif (folder / "images").is_dir():
        found, supplied, notes = _from_pairs(top, given=given, size=size)
    else:
        found, supplied, notes = _plain(top, size=size)
        found, notes = (found, notes) if found else _repeated(top, notes, size=size)
        if found and given:
            raise UserError(
                f"{folder}: pictures without conditions, but the condition is '{condition}'",
                expected=f"metadata.jsonl with `file_name` and `{table.CONDITION}`, or the folders images/ and conditions/",
                fix="supply the conditions, or name an extractor such as 'canny'",
            )
    if not found:
        raise _empty(top, tables)
    if supplied and not given:
        notes.append(
            f"the folder brings {supplied:,} conditions, and none is used: the condition is {condition!r} (--condition given takes them)"
        )
    examples = tuple(found if crop == CROP else (replace(example, crop=crop) for example in found))
    return Folder(folder, size, condition, examples, supplied, tuple(notes), tuple(columns)[:20], crop)


# ---------------------------------------------------------------- layouts: examples, how many conditions come with them, notes

Layout = tuple[list[Example], int, list[str]]


def _from_table(top: Listing, name: str, columns: dict[str, None], *, given: bool, size: int) -> Layout:
    folder, root = top.where, top.where.resolve()
    beside = listing.refuse_unread(top, read=name)
    found: list[Example] = []
    lines: dict[Path, int] = {}
    conditions: set[Path] = set()
    for line, row in table.rows(folder, name):
        where = f"{folder / name} line {line}"
        columns.update(dict.fromkeys(map(listing.short, row)))
        path = table.named(folder, row, "file_name", where)
        condition = table.named(folder, row, table.CONDITION, where) if given else None
        for file in filter(None, (path, condition)):
            if file in lines:
                raise UserError(
                    f"{where}: {listing.short(str(file.relative_to(root)))} was named before, in line {lines[file]}",
                    expected="a picture, and a condition of its own, in each row",
                    fix="remove one of the rows",
                    privacy="every record draws noise anew: what is in two of them shows through",
                )
            lines[file] = line
        words = [table.word(row, column, where) for column in table.WORDS]
        person = table.word(row, "person", where)
        supplied = row.get(table.CONDITION)
        if isinstance(supplied, str) and supplied:
            conditions.add(condition or root / supplied)
        text = next(filter(None, words), "") or _beside(folder, path)
        found.append(Example(path, condition, size, text, person))
    notes = note("tables that are not read", beside)
    unnamed = []
    for place in dict.fromkeys((root, *(example.path.parent for example in found))):
        seen = listing.scan(folder, folder / place.relative_to(root)).pictures
        unnamed += [str(path.relative_to(root)) for path in seen if path not in lines and path not in conditions]
    return found, len(conditions), notes + note(f"no row of {name} names them", unnamed)


def _from_pairs(top: Listing, *, given: bool, size: int) -> Layout:
    folder = top.where
    seen = {name: listing.scan(folder, folder / name) for name in ("images", "conditions", "captions") if (folder / name).is_dir()}
    for one in (top, *seen.values()):
        listing.refuse_unread(one)
    images, conditions = (_by_stem(seen[name]) if name in seen else {} for name in ("images", "conditions"))
    missing = [stem for stem in images if stem not in conditions] if given else []
    if missing:
        raise UserError(
            f"{folder / 'conditions'}: no condition for {len(missing)} of {len(images)} pictures, such as {images[missing[0]].name}",
            expected=f"a picture named {missing[0]} (.png, .jpg ...) in conditions/",
            fix="add it, or name an extractor such as 'canny'",
        )
    captions = {stem: _caption(folder, folder.resolve() / "captions" / stem) or _beside(folder, path) for stem, path in images.items()}
    paired = [stem for stem in conditions if stem in images]
    notes = note("beside images/, not in it", [path.name for path in top.pictures])
    notes += _left(seen["images"], captions.values()) + listing.alike(path.name for path in images.values())
    notes += note("conditions of no picture", [conditions[stem].name for stem in conditions if stem not in images])
    found = [Example(path, conditions[stem] if given else None, size, captions[stem]) for stem, path in images.items()]
    return found, len(paired), notes


def _plain(top: Listing, *, size: int) -> Layout:
    listing.refuse_unread(top)
    found = [Example(path, None, size, _beside(top.where, path)) for path in top.pictures]
    notes = _left(top, [example.text for example in found])
    return found, 0, notes + listing.alike(path.name for path in top.pictures)


def _repeated(top: Listing, notes: list[str], *, size: int) -> tuple[list[Example], list[str]]:
    """Kohya's layout: what each of its folders repeats and calls by its words; of the class alone nothing is read."""
    subjects, of_class = repeats.folders(top.names(FOLDER))
    if not subjects:
        return [], notes
    found: list[Example] = []
    said = []
    for one in subjects:
        seen = listing.scan(top.where, top.where / one.name)
        listing.refuse_unread(seen)
        here = [
            Example(path, None, size, _beside(top.where, path), words=one.words, repeats=one.times) for path in seen.pictures
        ]  # fmt: skip
        said += [f"{listing.short(one.name)}: {len(here):,} pictures", *_left(seen, [example.text for example in here])]
        found += here
    known = {one.name for one in (*subjects, *of_class)}
    said += note("of the class alone, no subject", [one.name for one in of_class])
    said += note(FOLDER, [name for name in top.names(FOLDER) if name not in known])
    for why in (NO_FILE, OTHER, HIDDEN):
        said += note(why, top.names(why))
    return found, said + listing.alike(str(example.path) for example in found)


def _left(seen: Listing, captions: Iterable[str | Path]) -> list[str]:
    """Lines on all of a folder that is neither a picture nor its caption."""
    used = {path.name for path in captions if isinstance(path, Path)}
    notes = []
    for why in (FOLDER, NO_FILE, OTHER, HIDDEN):
        notes += note(why, [name for name in seen.names(why) if name not in used])
    return notes


def _by_stem(seen: Listing) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in seen.pictures:
        if path.stem in found:
            raise UserError(
                f"{seen.where}: both {found[path.stem].name} and {path.name}",
                expected="names that differ without their suffix: pictures, conditions and captions are matched by them",
                fix="rename or remove one of the two",
            )
        found[path.stem] = path
    return found


def _beside(folder: Path, picture: Path) -> str | Path:
    """The caption beside a picture, by its name: the layout of kohya's and other trainers."""
    return _caption(folder, picture.with_suffix(""))


def _caption(folder: Path, stem: Path) -> str | Path:
    for suffix in listing.CAPTIONS:
        path = stem.with_name(stem.name + suffix)
        if os.path.islink(path) or is_file(path):
            return inside(folder, str(path.relative_to(folder.resolve())), str(path))
    return ""


def _empty(top: Listing, tables: list[str]) -> UserError:
    if tables:
        return UserError(f"{top.where / tables[0]}: no rows", expected="one row for each picture")
    below = ", ".join(map(listing.short, top.names(FOLDER)[:5]))
    others = note(OTHER, top.names(OTHER)) + note(NO_FILE, top.names(NO_FILE))
    return UserError(
        f"{top.where}: no pictures in it" + (f" (its folders: {below})" if below else "") + "".join(f"; {line}" for line in others),
        expected=f"pictures ({' '.join(sorted(SUFFIXES))}), or metadata.jsonl, or images/ with pictures",
        fix="pass the folder that holds the pictures or the metadata: of folders in it only those called like `10_word name` are searched",
    )
