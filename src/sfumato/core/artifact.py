"""Files that are whole or absent: tensors as safetensors, facts as JSON, both written aside and then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as _load
from safetensors.torch import save as _save

from sfumato.core.errors import UserError
from sfumato.core.header import check_header
from sfumato.core.outside import parse_json, read_bytes

JSON_BYTES = 2**24


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write ``data`` so that ``path`` never holds part of it, and survives a power cut once this returns.

    ``private`` files are readable by their owner alone; others get the usual permissions.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            _flush(file.fileno())
        if not private:
            as_usual(Path(name))
        os.replace(name, path)
        sync_folder(path.parent)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise UserError(f"{path} could not be written: {error.strerror}", fix="free some space or choose another folder") from error
    except BaseException:
        if name:
            Path(name).unlink(missing_ok=True)
        raise


def as_usual(path: Path) -> None:
    """Give a file the permissions that new files of this process have."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk: a rename is not, until then. Where a system cannot tell, nobody waits."""
    with contextlib.suppress(OSError):  # Windows opens no folder; some file systems flush none
        sync_file(folder)


def sync_file(path: Path) -> None:
    """Wait until what ``path`` holds is on the disk."""
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) if sys.platform == "win32" else os.O_RDONLY)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    """Down to the disk itself: on macOS, ``fsync`` alone stops at the drive's cache, and ``F_FULLFSYNC`` does not."""
    if _FULL_FLUSH is not None:
        import fcntl

        with contextlib.suppress(OSError):  # a file system that knows no such thing: the usual has to do
            fcntl.fcntl(handle, _FULL_FLUSH)
            return
    os.fsync(handle)


def _full_flush() -> int | None:
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    return getattr(fcntl, "F_FULLFSYNC", None)


_FULL_FLUSH = _full_flush()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON of at most ``JSON_BYTES`` that holds no key twice; ``what`` names the file in the error."""
    return parse_json(read_bytes(path, what=what, limit=JSON_BYTES), name=str(path), what=what)


def to_bytes(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialise tensors as safetensors; the same tensors and notes are the same bytes."""
    data = _save({k: v.contiguous() for k, v in tensors.items()}, metadata)
    if metadata is None or len(metadata) < 2:
        return data
    size = int.from_bytes(data[:8], "little")  # notes are written in no order of their own: sort them
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def from_bytes(data: bytes, *, name: str) -> dict[str, torch.Tensor]:
    """Parse safetensors; ``name`` names the file in the error. Values are given as they are: whether NaN may be among them is for whoever
    asks to say.

    Raises:
        UserError: no such file, one that is cut short, or a header that libraries would read in different ways.
    """
    check_header(data, name=name)
    try:
        return _load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, RuntimeError, AssertionError) as error:
        got = f"{name}: not a readable safetensors file ({str(error)[:200]})"
        raise UserError(got, expected="what its own header says", fix="ask for a file that others can load") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """The notes in a safetensors file that ``from_bytes`` could read."""
    notes: dict[str, str] | None = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
    return notes or {}


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
