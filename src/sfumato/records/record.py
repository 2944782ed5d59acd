"""What one record holds: all that ever leaves an owner for one picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sfumato.core.errors import UserError

SCHEMA = 1
SHARD_RECORDS = 256
LEVELS = 16  # of an int8 value to one standard deviation: ±8 of them fit


@dataclass(frozen=True, kw_only=True, slots=True)
class SealSettings:
    """How an owner's pictures were sealed. Steps are indices of the base's schedule; ``None`` means not noised at all.

    With ``derived`` no condition leaves: the server finds ``condition`` in pictures that it draws from the records itself. ``bits`` is 16
    for half precision, 8 for integers, rounded after the noise.
    """

    condition: str
    seal_step: int | None
    condition_step: int | None
    clip: float | None = None
    condition_clip: float | None = None
    derived: bool = False
    bits: int = 16

    def __post_init__(self) -> None:
        for name in ("seal_step", "condition_step"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise UserError(f"{name} {value!r}: expected a step >= 0, or none for unsealed")
        for name in ("clip", "condition_clip"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6):
                raise UserError(f"{name} {value!r}: expected a positive bound, or none for no clip (and no guarantee)")
        if type(self.derived) is not bool or type(self.bits) is not int or self.bits not in (8, 16):
            raise UserError(f"derived {self.derived!r}, bits {self.bits!r}; expected true or false, and 8 or 16")
        if self.derived and (self.seal_step is None or self.condition_step is not None or self.condition_clip is not None):
            raise UserError("a derived condition does not leave: it takes sealed pictures, and no step or clip of its own")

    @property
    def fields(self) -> tuple[str, ...]:
        """What a record holds."""
        return ("z_n",) if self.derived else ("z_n", "c_m")

    @property
    def dtype(self) -> torch.dtype:
        """Of every field."""
        return torch.float16 if self.bits == 16 else torch.int8


def restore(tensor: torch.Tensor) -> torch.Tensor:
    """Values of a field as float32."""
    return tensor.float() / LEVELS if tensor.dtype == torch.int8 else tensor.float()
