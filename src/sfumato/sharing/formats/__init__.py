"""How a report is written: one file a format, each with ``write(report) -> str``. The file's name is the format's."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from sfumato.core.errors import UserError

if TYPE_CHECKING:
    from sfumato.sharing.finding import Report


def names() -> list[str]:
    """The formats that there are."""
    return sorted(module.name.removeprefix("as_") for module in iter_modules(__path__))


def written(report: Report, form: str) -> str:
    """The report as text of a format.

    Raises:
        UserError: there is no such format.
    """
    if form not in names():
        raise UserError(f"--format {form!r}", expected=", ".join(["table", *names()]))
    text: str = import_module(f"{__name__}.as_{form}").write(report)
    return text.encode("utf-8", "backslashreplace").decode()  # names of files and texts of notes may hold half a character
