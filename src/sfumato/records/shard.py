"""Read and check one shard."""

from __future__ import annotations

from pathlib import Path

import torch

from sfumato.core.artifact import from_bytes, metadata_of, sha256, to_bytes
from sfumato.core.errors import RecordError, UserError
from sfumato.records.manifest import Manifest, ShardEntry
from sfumato.records.record import check_tensors


def pack(fields: dict[str, torch.Tensor]) -> tuple[ShardEntry, bytes]:
    """Serialise the fields of records, each ``(N, 4, h, w)`` and rounded already."""
    data = to_bytes(fields)
    return ShardEntry(sha256=sha256(data), records=len(fields["z_n"]), bytes=len(data)), data


def read(folder: Path, entry: ShardEntry, manifest: Manifest) -> dict[str, torch.Tensor]:
    """Read a shard and check everything about it.

    Raises:
        RecordError: missing, cut short, changed, or not what the manifest says; names the shard.
    """
    path = folder / entry.file
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == entry.bytes else b""
    except OSError as error:
        raise RecordError(f"{path.name}: cannot be read ({error.strerror})", fix="fetch the shard again") from error
    if size != entry.bytes:
        raise RecordError(f"{path.name}: {size} bytes", expected=f"{entry.bytes} bytes", fix="fetch the shard again; it was cut short")
    if sha256(data) != entry.sha256:
        raise RecordError(
            f"{path.name}: its content does not match its name", expected="the SHA-256 in the manifest", fix="fetch the shard again"
        )
    try:
        tensors = from_bytes(data, name=path.name)
    except UserError as error:
        raise RecordError(error.got, fix=error.fix) from error
    if metadata_of(data):
        raise RecordError(
            f"{path.name}: carries notes beside its tensors", expected="the fields of records alone", fix="ask the owner to seal again",
            privacy="notes may hold captions or file names",
        )  # fmt: skip
    check_tensors(tensors, manifest.settings, count=entry.records, shape=manifest.shape, name=path.name)
    return tensors
