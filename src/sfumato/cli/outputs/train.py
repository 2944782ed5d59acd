"""What ``sfumato train --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output
from sfumato.server.export import Item


@dataclass(frozen=True, kw_only=True)
class SharedFile:
    """A file of a ControlNet's folder.

    Attributes:
        file, bytes, what: its name, size and what it is.
        private: whether it does not belong into what is shared.
    """

    file: str
    bytes: int
    what: str
    private: bool

    @classmethod
    def of(cls, item: Item) -> SharedFile:
        """The same of ``server.export``."""
        return cls(**item._asdict())


@dataclass(frozen=True, kw_only=True)
class Train(Output):
    """What a training left.

    Attributes:
        out, work: the ControlNet's folder, which may be shared, and the private one beside it.
        shared: the files in ``out``.
        records, owners: how many were trained on, and the names that signed them. They stay private.
        refused: shards that were left out, and why.
        held_out_loss: on records that were kept aside, at each look.
        processes, steps, precision: how it was trained.
        peak_bytes, seconds: what it took.
    """

    out: str
    work: str
    shared: tuple[SharedFile, ...]
    records: int
    owners: tuple[str, ...]
    refused: tuple[str, ...]
    held_out_loss: tuple[float, ...]
    processes: int
    steps: int
    precision: str
    peak_bytes: int
    seconds: float


OUTPUTS = (Train,)
