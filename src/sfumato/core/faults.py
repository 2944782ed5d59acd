"""Faults of the library itself: said in a line, and kept whole where whoever mends them finds them."""

from __future__ import annotations

import os
import time
import traceback

from sfumato.core.artifact import write_atomic
from sfumato.core.errors import UserError
from sfumato.core.home import home

KEPT = 20  # of the newest


def debugging() -> bool:
    """Whether ``SFUMATO_DEBUG`` asks for tracebacks on the screen."""
    return os.environ.get("SFUMATO_DEBUG", "") not in ("", "0")


def keep(error: BaseException) -> str:
    """Keep a fault's traceback in ``faults/`` of the home folder, for its owner's eyes alone; say in one line what it was and where it is.

    The traceback names files and lines of the library; the error's own words may quote what was read.
    """
    said = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
    try:
        folder = home() / "faults"
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}-{time.monotonic_ns()}.txt"
        write_atomic(path, "".join(traceback.format_exception(error)).encode(errors="backslashreplace"), private=True)
        for old in sorted(folder.glob("*.txt"))[:-KEPT]:
            old.unlink(missing_ok=True)
    except (UserError, OSError, RuntimeError):  # a full disk, or nobody at home
        return f"a fault of sfumato itself, not of what you gave it: {said} (SFUMATO_DEBUG=1 shows where)"
    return f"a fault of sfumato itself, not of what you gave it: {said} (kept in {path})"
