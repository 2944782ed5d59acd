"""How far a command is and how long it still takes: a bar on a terminal, a line now and then elsewhere, numbers for a parent."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sfumato.core.outside import printable

EVERY = 60.0  # seconds between lines where there is no terminal
Say = Callable[[str], None]


class Pace:
    """Time left of a phase, by what this run itself did of it: what an earlier one did took it no time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total: int | None = None
        self._first, self._last, self._since = 0, 0, 0.0

    def left(self, done: int, total: int | None) -> float | None:
        """Seconds until ``done`` is ``total``; None where that is not known: at first, and without a total."""
        now = self._clock()
        if total != self._total or done < self._last:
            self._total, self._first, self._since = total, done, now
        self._last = done
        if not total or not self._first < done <= total:
            return None
        return (total - done) * (now - self._since) / (done - self._first)


def words(seconds: float) -> str:
    """Seconds as people say them, no more exact than they are known."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bar:
    """Progress of one command: of one thing (call it), or of phases with names (``phase``). ``timed`` is whether a time left is said."""

    def __init__(self, title: str, total: int | None, show: Callable[[str, int, int | None, str], None], *, timed: bool) -> None:
        self._title, self._total, self._show = title, total, show
        self._pace = Pace() if timed else None

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """So much of ``total`` is done."""
        self._tell(self._title, done, total or self._total, note)

    def phase(self, what: str, done: int, total: int) -> None:
        """So much of phase ``what`` is done; a total of 0 is one that nobody knows."""
        self._tell(what, done, total or None, "")

    def _tell(self, what: str, done: int, total: int | None, note: str) -> None:
        left = self._pace.left(done, total) if self._pace else None
        self._show(what, done, total, ", ".join(filter(None, (note, f"about {words(left)} left" if left else ""))))


@contextlib.contextmanager
def bar(title: str, total: int | None, console: Console, say: Say, number: Say, *, timed: bool = True) -> Iterator[Bar]:
    """See ``_output.bar``."""
    if os.environ.get("SFUMATO_PROGRESS") == "lines":
        yield Bar(title, total, lambda what, done, whole, note: number(f"progress {done} {whole or 0}"), timed=False)
    elif not console.is_terminal:
        yield Bar(title, total, _lines(say), timed=timed)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(printable(title), total=total, count=f"0/{total}" if total else "", note="")

            def show(what: str, done: int, whole: int | None, note: str) -> None:
                count = f"{done}/{whole}" if whole else f"{done}" if done else ""
                progress.update(task, description=printable(what), total=whole, completed=done, count=count, note=printable(note))

            yield Bar(title, total, show, timed=timed)


def _lines(say: Say, clock: Callable[[], float] = time.monotonic) -> Callable[[str, int, int | None, str], None]:
    """Say it at most every ``EVERY`` seconds, so that a log tells what is going on."""
    said = [clock()]

    def show(what: str, done: int, total: int | None, note: str) -> None:
        if clock() - said[0] >= EVERY:
            said[0] = clock()
            count = f" {done}/{total}" if total else ""
            say(f"{what}{count}{f', {note}' if note else ''}")

    return show
