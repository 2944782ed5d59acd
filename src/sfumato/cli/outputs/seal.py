"""What ``sfumato seal --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class ConditionsSealed:
    """Which conditions, and whether they are in the records.

    Attributes:
        condition: the kind.
        leave: whether they leave; else the server finds some by itself.
        supplied, supplied_used: how many the folder brings, and how many were taken.
    """

    condition: str
    leave: bool
    supplied: int
    supplied_used: int


@dataclass(frozen=True, kw_only=True)
class Seal(Output):
    """What was sealed, and what its owner should know.

    Attributes:
        owner: the name that signs.
        trial, must_not_leave: whether it is one, and why it stays here; empty for what may leave.
        released_before: how many of these pictures left before.
        largest_person: how many pictures the person with most has; null where the folder names nobody. It stays here.
        level, measured: what the settings are called, and what was measured of them, in lines.
        records: how many there are; ``sealed_now`` by this run, ``resumed`` by an earlier one.
        duplicates, skipped: pictures that are there twice, and files that were left out and why.
        notes: what is easily overlooked.
        crop, cropped, padded: what became of pictures that are no squares, and of how many.
        conditions: which, and whether they leave.
        seal_step, condition_step: of the noise; null for none.
        bytes_per_picture: that leave.
        privacy: the manifest's statement: its guarantee, or why there is none, and the ledger it follows from.
        prompts_left: captions in the records: none ever.
        peak_bytes, seconds: what it took.
        out: where the records lie.
    """

    owner: str
    trial: bool
    must_not_leave: str
    released_before: int
    largest_person: int | None
    level: str | None
    measured: tuple[str, ...]
    records: int
    sealed_now: int
    resumed: int
    duplicates: int
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    crop: str
    cropped: int
    padded: int
    conditions: ConditionsSealed
    seal_step: int | None
    condition_step: int | None
    bytes_per_picture: float
    privacy: dict[str, Any]
    prompts_left: int
    peak_bytes: int
    seconds: float
    out: str


OUTPUTS = (Seal,)
