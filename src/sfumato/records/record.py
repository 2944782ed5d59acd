"""What one record holds: all that ever leaves an owner for one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sfumato.core.errors import RecordError

SCHEMA = 1
SHARD_RECORDS = 256
FIELDS = {"z_n": torch.float16, "c_m": torch.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class SealSettings:
    """How an owner's pictures were sealed. Steps are indices of the base's schedule; ``None`` means not noised at all."""

    condition: str
    seal_step: int | None
    condition_step: int | None
    clip: float | None = None
    condition_clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("seal_step", "condition_step"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ValueError(f"{name} {value!r}: expected a step >= 0, or none for unsealed")
        for name in ("clip", "condition_clip"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6):
                raise ValueError(f"{name} {value!r}: expected a positive bound, or none for no clip (and no guarantee)")


def check_tensors(tensors: dict[str, torch.Tensor], *, count: int, shape: tuple[int, ...], name: str) -> None:
    """Refuse a shard whose tensors are not what the manifest says: everything read from outside is untrusted."""
    if set(tensors) != set(FIELDS):
        raise RecordError(f"{name}: fields {sorted(tensors)}", expected=f"exactly {sorted(FIELDS)}", fix="ask the owner to seal again")
    for field, dtype in FIELDS.items():
        value: Any = tensors[field]
        if value.dtype != dtype or tuple(value.shape) != (count, *shape):
            raise RecordError(f"{name}: {field} is {value.dtype} {tuple(value.shape)}", expected=f"{dtype} {(count, *shape)}")
        if not bool(value.isfinite().all()):
            raise RecordError(f"{name}: {field} holds NaN or infinity", fix="ask the owner to seal again", privacy="none: nothing was used")
        if float(value.abs().max()) > 1000:
            raise RecordError(f"{name}: {field} reaches {float(value.abs().max()):.0f}", expected="latents, within about ±10")
