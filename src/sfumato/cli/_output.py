"""What every command shares: bars and words for people on stderr, one JSON object for machines on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console

from sfumato.cli import _progress
from sfumato.cli._progress import Bar
from sfumato.core.outside import printable

console = Console(stderr=True, highlight=False)


def emit(value: dict[str, Any]) -> None:
    """Print the one object of ``--json``."""
    print(json.dumps(value, indent=1, default=str))


def say(text: str) -> None:
    """Tell a person something, on stderr. Whatever it quotes from outside is shown, and does nothing to the terminal."""
    console.print(printable(text), soft_wrap=True, markup=False, emoji=False)


def _number(text: str) -> None:
    """A line for a parent."""
    print(printable(text), file=sys.stderr, flush=True)


def answers() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty()


def confirmed(question: str) -> bool:
    """Ask a person, on stderr, for yes or no; no is the default."""
    return typer.confirm(printable(question), err=True)


def show(text: str) -> None:
    """Print what was asked for, on stdout: escaped as ``say`` does."""
    print(printable(text))


@contextlib.contextmanager
def bar(title: str, total: int | None = None, *, timed: bool = True) -> Iterator[Bar]:
    """Show progress while the block runs; yields what is told of it.

    On a terminal it is a bar; elsewhere a line a minute; and with ``SFUMATO_PROGRESS=lines`` every advance is a line
    ``progress DONE TOTAL``, for a parent that draws the bar itself.

    Args:
        title: what is done, until a phase says it.
        total: how much of it, where that is known.
        timed: whether a time left is reckoned; not where steps are too unlike one another.
    """
    with _progress.bar(title, total, console, say, _number, timed=timed) as told:
        yield told


def step_or_none(value: str, option: str) -> int | None:
    """Read a step: a number, or ``none`` for "not noised"."""
    from sfumato.core.errors import UserError

    if value.lower() == "none":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise UserError(f"{option} {value!r}", expected="a step such as 600, or none for unsealed") from error


def crop_of(value: str) -> Any:
    """Read ``--crop``. Raises UserError with the values that there are."""
    from sfumato.core.errors import UserError
    from sfumato.owner.picture_file import CROPS

    if value not in CROPS:
        raise UserError(f"--crop {value!r}", expected=" or ".join(CROPS))
    return value
