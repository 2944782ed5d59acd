"""One shard on the disk: checked in one pass that keeps nothing, and then read by rows.

Rows are read by position, not mapped: mapped pages count as this process's memory, and a file that is cut short while it is mapped ends
the process. A file that was changed after it was checked is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from sfumato.core.artifact import sha256, to_bytes
from sfumato.core.errors import RecordError, UserError
from sfumato.core.header import kind_of
from sfumato.core.outside import parse_json, printable
from sfumato.records.manifest import Manifest, ShardEntry, inside

CHUNK = 2**20  # bytes in memory at once
HEADER = 4096  # bytes of a header; two fields need 200
LARGEST = 1000  # of a latent's values
_CODES = {"F16": torch.float16, "I8": torch.int8}
_NUMPY: dict[torch.dtype, Any] = {torch.float16: np.dtype("<f2"), torch.int8: np.dtype("i1")}
_SIGN_OFF = np.uint16(0x7FFF)  # a half's bits without its sign grow with its value; infinity and NaN come last
_INFINITY = 0x7C00


@dataclass(frozen=True)
class Shard:
    """A checked shard: where it lies, what it was when it was checked, and where each field starts.

    ``shape`` is of one latent, ``starts`` gives by field the byte at which the first record begins.
    """

    path: Path
    entry: ShardEntry
    shape: tuple[int, ...]
    dtype: torch.dtype
    starts: dict[str, int]
    stamp: tuple[int, ...]

    def rows(self, field: str, index: np.ndarray) -> torch.Tensor:
        """The records ``index`` (int64, any order) of one field, as they were stored: ``(len(index), 4, h, w)``.

        Raises:
            RecordError: the file is gone, or is not what it was.
        """
        kind, size = _NUMPY[self.dtype], math.prod(self.shape)
        found = np.empty((len(index), size), kind)
        order = np.argsort(index, kind="stable")
        breaks = np.flatnonzero(np.diff(index[order]) != 1) + 1  # records in a row are read at once
        with _opened(self.path) as (file, stamp):
            if stamp != self.stamp:
                raise RecordError(f"{self.path.name}: changed after it was checked", fix="leave records alone while they are in use")
            for run in np.split(order, breaks) if len(index) else ():
                part = np.empty((len(run), size), kind)
                file.seek(self.starts[field] + int(index[run[0]]) * size * kind.itemsize)
                if _fill(file, memoryview(part.view("u1").reshape(-1))) < part.nbytes:  # type: ignore[arg-type]
                    raise RecordError(f"{self.path.name}: cut short after it was checked", fix="leave records alone while they are in use")
                found[run] = part
        return torch.from_numpy(found.astype(kind.newbyteorder("="), copy=False)).view(len(index), *self.shape)


def pack(fields: dict[str, torch.Tensor]) -> tuple[ShardEntry, bytes]:
    """Serialise the fields of records, each ``(N, 4, h, w)`` and rounded already."""
    data = to_bytes(fields)
    return ShardEntry(sha256=sha256(data), records=len(fields["z_n"]), bytes=len(data)), data


def check(folder: Path, entry: ShardEntry, manifest: Manifest) -> Shard:
    """Check everything about a shard, and keep none of its values.

    Raises:
        RecordError: missing, cut short, changed, or not what the manifest says; names the shard.
    """
    path = inside(folder, entry.file)
    name, settings = entry.file, manifest.settings
    with _opened(path) as (file, stamp):
        if stamp[2] != entry.bytes:
            raise RecordError(
                f"{name}: {stamp[2]} bytes", expected=f"{entry.bytes} bytes", fix="fetch the shard again; it was cut short"
            )  # fmt: skip
        head = file.read(8)
        size = int.from_bytes(head, "little")
        text = file.read(size) if size <= HEADER else b""
        digest, wrong, largest = hashlib.sha256(head + text), None, 0
        starts: dict[str, int] = {}
        try:
            starts = _header(head, text, entry, manifest)
        except RecordError as error:
            wrong = error  # said only if these are the bytes that were signed
        buffer = bytearray(CHUNK)
        while count := _fill(file, memoryview(buffer)):
            digest.update(memoryview(buffer)[:count])
            if settings.bits == 16:
                largest = max(largest, int((np.frombuffer(buffer, "<u2", count // 2) & _SIGN_OFF).max(initial=0)))
    if digest.hexdigest() != entry.sha256:
        raise RecordError(
            f"{name}: its content does not match its name", expected="the SHA-256 in the manifest", fix="fetch the shard again"
        )
    if wrong is not None:
        raise wrong
    if largest >= _INFINITY:
        raise RecordError(f"{name}: it holds NaN or infinity", fix="ask the owner to seal again", privacy="none: nothing was used")
    if (value := float(np.array(largest, np.uint16).view(np.float16))) > LARGEST:
        raise RecordError(f"{name}: a value reaches {value:.0f}", expected="latents, within about ±10")
    return Shard(path, entry, manifest.shape, settings.dtype, starts, stamp)


def read(folder: Path, entry: ShardEntry, manifest: Manifest) -> dict[str, torch.Tensor]:
    """Check a shard and read it whole, as it was stored.

    Raises:
        RecordError: missing, cut short, changed, or not what the manifest says; names the shard.
    """
    found = check(folder, entry, manifest)
    return {field: found.rows(field, np.arange(entry.records)) for field in manifest.settings.fields}


def _header(head: bytes, text: bytes, entry: ShardEntry, manifest: Manifest) -> dict[str, int]:
    """Where each field starts, by a header that says what the manifest says and nothing else."""
    name, settings, shape = entry.file, manifest.settings, [entry.records, *manifest.shape]
    if len(head) < 8 or len(text) != int.from_bytes(head, "little"):
        raise RecordError(f"{name}: {kind_of(head + text)}, or one with a header that is too long", fix="ask the owner to seal again")
    try:
        said: Any = parse_json(text, name=name, what="header of a safetensors file")
    except UserError as error:
        raise RecordError(error.got, fix="ask the owner to seal again") from error
    if isinstance(said, dict) and "__metadata__" in said:
        raise RecordError(
            f"{name}: carries notes beside its tensors", expected="the fields of records alone", fix="ask the owner to seal again",
            privacy="notes may hold captions or file names",
        )  # fmt: skip
    if not isinstance(said, dict) or set(said) != set(settings.fields):
        found = printable(ascii(sorted(said) if isinstance(said, dict) else said)[:200])
        raise RecordError(f"{name}: fields {found}", expected=f"exactly {list(settings.fields)}", fix="ask the owner to seal again")
    size = math.prod(shape) * settings.bits // 8
    starts: dict[str, int] = {}
    for field, about in said.items():
        about = about if isinstance(about, dict) else {}
        dtype = _CODES.get(about["dtype"]) if isinstance(about.get("dtype"), str) else None
        place = about.get("data_offsets")
        if set(about) != {"dtype", "shape", "data_offsets"} or dtype is not settings.dtype or about["shape"] != shape:
            raise RecordError(
                f"{name}: {field} is {ascii(about.get('dtype'))[:40]} {ascii(about.get('shape'))[:80]}",
                expected=f"{settings.dtype} {shape}",
            )
        if not isinstance(place, list) or place not in [[k * size, (k + 1) * size] for k in range(len(said))]:
            raise RecordError(f"{name}: {field} lies at {ascii(place)[:80]}", expected="fields one after another")
        starts[field] = 8 + len(text) + place[0]
    if len(set(starts.values())) < len(starts) or 8 + len(text) + len(starts) * size != entry.bytes:
        raise RecordError(f"{name}: bytes that are of no field, or of two", expected="fields one after another, and nothing else")
    return starts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    """A regular file, unbuffered, and what it is: device, number, bytes, time of its last change. Pipes and devices are not waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=0) as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise RecordError(f"{path.name}: not a file", fix="fetch the shard again")
            yield file, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise RecordError(f"{path.name}: cannot be read ({error.strerror})", fix="fetch the shard again") from error


def _fill(file: BinaryIO, view: memoryview) -> int:
    """Read until ``view`` is full or the file ends; the bytes read."""
    done = 0
    while done < len(view) and (count := file.readinto(view[done:])):  # type: ignore[attr-defined]
        done += count
    return done
