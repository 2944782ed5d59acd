"""Files that are whole or absent: tensors as safetensors, facts as JSON, both written aside and then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as _load
from safetensors.torch import save as _save

from sfumato.core.errors import UserError


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` never holds part of it, and survives a power cut once this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise UserError(f"{path} could not be written: {error.strerror}", fix="free some space or choose another folder") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path, *, what: str) -> Any:
    """Read JSON; ``what`` names the file in the error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no {what} there", fix="check the path; a folder without it is unfinished or not ours") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable {what} ({error})", fix="fetch the file again") from error


def to_bytes(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialise tensors as safetensors."""
    return _save({k: v.contiguous() for k, v in tensors.items()}, metadata)


def from_bytes(data: bytes, *, name: str) -> dict[str, torch.Tensor]:
    """Parse safetensors; ``name`` names the file in the error."""
    try:
        return _load(data)
    except SafetensorError as error:
        raise UserError(f"{name}: not a readable safetensors file ({error})", fix="fetch the file again; it may be cut short") from error


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
