"""What comes from outside is bounded before it is read, means one thing, and is harmless where it is printed."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from sfumato.core.errors import UserError

DEPTH = 100  # of JSON within JSON
DIGITS = 300  # of one number


def read_bytes(path: Path, *, what: str, limit: int) -> bytes:
    """The whole of a regular file of at most ``limit`` bytes. Pipes, devices and folders are refused before anything is read.

    Args:
        path: the file; a link is followed.
        what: what it should be, for the error.
        limit: in bytes.

    Raises:
        UserError: it is not there, not a file, too large, or cannot be read.
    """
    with open_bytes(path, what=what, limit=limit) as (file, _):
        return file.read(limit)


@contextmanager
def open_bytes(path: Path, *, what: str, limit: int) -> Iterator[tuple[BinaryIO, int]]:
    """``read_bytes`` for whoever looks at the beginning first: yields the open file and its size."""
    try:
        with os.fdopen(_open(path), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UserError(f"{path}: not a file", expected=what)
            if about.st_size > limit:
                raise UserError(f"{path}: {about.st_size} bytes", expected=f"{what} of at most {limit} bytes")
            yield file, about.st_size
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise UserError(f"{path}: no {what} there", fix="check the path; a folder without it is unfinished or not ours") from error
        if error.errno == errno.EISDIR:
            raise UserError(f"{path}: a folder, not a file", expected=what) from error
        raise UserError(f"{path}: cannot be read ({error.strerror})", expected=what) from error


def _open(path: Path) -> int:
    """A handle that waits for nobody."""
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null byte, or half a character
        raise UserError(f"{str(path)!r}: no name that a file can have") from error


def parse_json(text: str | bytes, *, name: str, what: str = "JSON") -> Any:
    """JSON that means one thing to everybody: no key twice, no NaN, whole characters, bounded depth and numbers.

    Args:
        text: UTF-8 where it is bytes.
        name: the file, and the line where there are several, for the error.
        what: what it should be, for the error.

    Raises:
        UserError: it is not such JSON.
    """
    try:
        said = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        _check_depth(said)
        value = json.loads(
            said, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=lambda digits: _bounded(digits, int),
            parse_float=lambda digits: _bounded(digits, _finite),
        )  # fmt: skip
        if "\\u" in said:  # half of a pair is no character: it could not be written again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise _unreadable(name, what, "nested too deeply") from error
    except UnicodeDecodeError as error:
        raise _unreadable(name, what, f"no UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise _unreadable(name, what, "half a character in it") from error
    except ValueError as error:
        raise _unreadable(name, what, str(error)) from error


def _unreadable(name: str, what: str, why: str) -> UserError:
    return UserError(f"{name}: not a readable {what} ({why})", expected="JSON that means the same to every reader")


# A whole text, a quote that begins one without an end, or a bracket. Possessive: nothing is tried twice, however hostile.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)


def _check_depth(text: str) -> None:
    """Count brackets outside strings: the parser itself would use up the stack."""
    depth = 0
    if text.count("[") + text.count("{") <= DEPTH:
        return
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in ("[", "{"):
            depth += 1
            if depth > DEPTH:
                raise ValueError(f"nested more than {DEPTH} deep")
        elif token in ("]", "}"):
            depth -= 1
        elif token == '"':
            raise ValueError("a text without an end")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {printable(key)[:80]!r} twice")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number")


def _bounded(digits: str, kind: Any) -> Any:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return kind(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:40]}, which is beyond every number")
    return value


def printable(text: str) -> str:
    """The same text with everything escaped that would move a terminal's cursor, hide or turn text: controls but line breaks and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode("ascii") if character not in "\x7f" else "\\x7f"
