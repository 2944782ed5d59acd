"""What every command shares: bars and words for people on stderr, one JSON object for machines on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sfumato.core.outside import printable

console = Console(stderr=True, highlight=False)


def emit(value: dict[str, Any]) -> None:
    """Print the one object of ``--json``."""
    print(json.dumps(value, indent=1, default=str))


def say(text: str) -> None:
    """Tell a person something, on stderr. Whatever it quotes from outside is shown, and does nothing to the terminal."""
    console.print(printable(text), soft_wrap=True, markup=False, emoji=False)


def show(text: str) -> None:
    """Print what was asked for, on stdout: escaped as ``say`` does."""
    print(printable(text))


@contextlib.contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Any]:
    """A progress bar; yields ``advance(done, total=None, note="")``.

    With ``SFUMATO_PROGRESS=lines`` every advance is a line ``progress DONE TOTAL`` instead, for a parent that draws the bar itself.
    """
    if os.environ.get("SFUMATO_PROGRESS") == "lines":
        yield lambda done, total=total, note="": print(f"progress {done} {total or 0}", file=sys.stderr, flush=True)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task(printable(title), total=total, note="")

        def advance(done: int, total: int | None = None, note: str = "") -> None:
            progress.update(task, total=total, completed=done, note=printable(note))

        yield advance


def step_or_none(value: str, option: str) -> int | None:
    """Read a step: a number, or ``none`` for "not noised"."""
    from sfumato.core.errors import UserError

    if value.lower() == "none":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise UserError(f"{option} {value!r}", expected="a step such as 600, or none for unsealed") from error
