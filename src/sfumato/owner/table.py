"""The rows of a folder's own table: JSON Lines, a JSON list, or CSV. Read whole, within bounds, and each row by its line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json, read_bytes
from sfumato.owner.listing import inside, is_file, short

TABLE_BYTES = 2**28
CONDITION = "conditioning_image_file_name"
WORDS = ("text", "caption")  # columns that hold a caption, the first that a row has

Row = tuple[int, dict[str, Any]]


def rows(folder: Path, name: str) -> Iterator[Row]:
    """The rows of table ``name`` in ``folder``, with their numbers: of a line, or of an entry of a JSON list.

    Raises:
        UserError: it leads out of the folder, is no file, too large, or not such a table; names file and line.
    """
    inside(folder, name, str(folder / name))
    path = folder / name
    data = read_bytes(path, what="table of pictures", limit=TABLE_BYTES).removeprefix(b"\xef\xbb\xbf")
    if name.endswith(".csv"):
        yield from _csv(path, _text(path, data))
    elif name.endswith(".json") and data.lstrip().startswith(b"["):
        found = parse_json(data, name=str(path))
        for number, row in enumerate(found, 1):
            yield number, _object(row, f"{path} entry {number}")
    else:
        yield from _lines(path, data)


def _lines(path: Path, data: bytes) -> Iterator[Row]:
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", data), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = parse_json(line, name=where)
        except UserError as error:
            raise UserError(
                error.got,
                expected='one object a line: {"file_name": "0001.png", "text": "..."}',
                fix="write every row on a line of its own, without commas between rows",
            ) from error
        yield number, _object(row, where)


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where}: not an object", expected='{"file_name": "0001.png", "text": "..."}')
    return row


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: no UTF-8 at byte {error.start}", expected="a text file in UTF-8") from error


def _csv(path: Path, text: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or [])
        if len(set(columns)) < len(columns):
            twice = next(column for column in columns if columns.count(column) > 1)
            raise UserError(f"{path} line 1: the column {short(twice)!r} twice", expected="columns of different names")
        for row in reader:
            if None in row:
                raise UserError(
                    f"{path} line {reader.line_num}: more cells than columns",
                    expected=f"the columns {short(', '.join(columns), 200)}",
                    fix="put captions that contain a comma in double quotes",
                )
            yield reader.line_num, {str(key): value for key, value in row.items()}
    except csv.Error as error:
        where = f"{path} line {reader.reader.line_num}"
        raise UserError(f"{where}: not a row of CSV ({error})", expected="text in double quotes, closed again") from error


def named(folder: Path, row: dict[str, Any], column: str, where: str) -> Path:
    """The file that ``column`` of ``row`` names.

    Raises:
        UserError: it names nothing, or something outside the folder.
    """
    name = row.get(column)
    if not isinstance(name, str) or not name:
        columns = short(", ".join(map(str, row)) or "nothing", 200)
        got = f"`{column}` is {short(json.dumps(name))}" if column in row else f"no `{column}` (it has {columns})"
        other = ", or name an extractor such as 'canny'" if column == CONDITION else ""
        expected = f"`{column}` with a path relative to {folder}"
        raise UserError(f"{where}: {got}", expected=expected, fix=f"add `{column}` to every row{other}")
    path = inside(folder, name, f"{where}: {short(name)}")
    if not is_file(path):
        try:
            what = "which is no file" if path.exists() else "which is not there"
        except OSError:  # too long for a name
            what = "which is not there"
        got = f"`{column}` names {short(name)}, {what}"
        raise UserError(f"{where}: {got}", expected=f"a file in {folder}", fix="correct or remove the row")
    return path


def word(row: dict[str, Any], column: str, where: str) -> str:
    """The text of ``column``, empty where there is none."""
    value = row.get(column)
    if not isinstance(value, str | None):
        raise UserError(f"{where}: `{column}` is {short(json.dumps(value))}", expected="words in quotes")
    return (value or "").strip()
