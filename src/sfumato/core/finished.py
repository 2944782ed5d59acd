"""What is finished is not overwritten: the one rule of every command that writes somewhere that a person names."""

from __future__ import annotations

import os
from pathlib import Path

from sfumato.core.errors import UserError


def keep(*paths: Path, overwrite: bool, option: str = "--out", what: str = "") -> None:
    """Refuse to go on where anything would be overwritten, unless that was asked for. To be called before the work, not after it.

    Args:
        paths: all that will be written.
        overwrite: whether the caller said so.
        option: the option that names the place.
        what: whose it is, where that is known: "of another run".

    Raises:
        UserError: one of them is there, a link that leads nowhere included.
    """
    there = [path for path in paths if os.path.lexists(path)]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(
            f"{there[0]}{more}: there already{f', {what}' if what else ''}",
            expected="a new place: what is finished is not overwritten",
            fix=f"choose another {option}, or add --overwrite",
        )
