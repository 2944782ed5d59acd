"""Folders that only their owner can open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sfumato.core.errors import UserError


@contextlib.contextmanager
def private(out: Path) -> Iterator[None]:
    """Make ``out`` a folder of its owner alone, and everything that is written meanwhile a file of its owner alone.

    Raises:
        UserError: a folder that is not this user's to change.
    """
    mask = os.umask(0o077)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in (out, *out.rglob("*")):  # of an earlier run, that was not yet private
            if not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)
        yield
    except PermissionError as error:
        raise UserError(f"{out}: {error.strerror}", fix="choose another --out") from error
    finally:
        os.umask(mask)
