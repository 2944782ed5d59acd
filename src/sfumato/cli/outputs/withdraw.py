"""What ``sfumato withdraw --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class Withdraw(Output):
    """What was withdrawn, on its owner's word.

    Attributes:
        release, records: which, and how many records the ledger has of it.
        withdrawn_before: whether it had been; then nothing was added.
        said: what the owner said, as the ledger keeps it.
        deleted: files that were deleted.
        folder: where the records lie, or lay.
    """

    release: str
    records: int
    withdrawn_before: bool
    said: str
    deleted: tuple[str, ...]
    folder: str


OUTPUTS = (Withdraw,)
