"""One process at a time: a lock on a file, on any system and, where the file system has locks at all, over a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sfumato.core.errors import UserError


@contextmanager
def held(path: Path, *, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock at ``path`` while the block runs. It ends with its process, killed or not.

    Args:
        path: the lock's file; it is made, and stays.
        what: what runs under it, for the error.
        wait: seconds to wait for whoever holds it.

    Raises:
        UserError: somebody else holds it, or the file system has no locks.
    """
    lock = FileLock(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where a file system has no locks, filelock's own kind is as good for us
            lock.acquire(timeout=wait)
    except Timeout as error:
        fix = "wait for it to end, or run the same command again"
        raise UserError(f"another {what} is running on this machine", fix=fix) from error
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"{path}: could not be locked ({getattr(error, 'strerror', None) or error})",
            expected="a folder of yours, on a file system with locks",
            fix="set SFUMATO_HOME to a folder on a local disk",
            privacy="two commands at once might release a picture twice: nothing was done",
        ) from error
    try:
        yield
    finally:
        lock.release()
