"""What every command shares: bars and words for people on stderr, one JSON object for machines on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from sfumato.cli import _progress
from sfumato.cli._progress import Bar
from sfumato.core.outside import printable

if TYPE_CHECKING:
    from sfumato.api._common import OnProgress
    from sfumato.cli.outputs._base import Output

console = Console(stderr=True, highlight=False)


def emit(value: Output | dict[str, Any]) -> None:
    """Print the one object of ``--json``: a type of ``cli.outputs``, or a dict with its ``schema`` in front."""
    if isinstance(value, dict):
        value = {"schema": 1} | value
    else:
        from sfumato.core.typed_json import plain

        value = plain(value)
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


@contextlib.contextmanager
def bars() -> Iterator[OnProgress]:
    """Show the progress of a verb of ``sfumato.api``, which says itself what it does: a bar for each phase, from when it begins."""
    with contextlib.ExitStack() as stack:
        title = ""
        told: Bar | None = None

        def tell(what: str, done: int, total: int, note: str = "") -> None:
            nonlocal title, told
            if told is None or what != title:
                stack.close()
                title, told = what, stack.enter_context(bar(what, total or None))
            told(done, total or None, note)

        yield tell


def step_or_none(value: str, option: str) -> int | None:
    """Read a step: a number, or ``none`` for "not noised"."""
    from sfumato.core.errors import UserError

    if value.lower() == "none":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise UserError(f"{option} {value!r}", expected="a step such as 600, or none for unsealed") from error
