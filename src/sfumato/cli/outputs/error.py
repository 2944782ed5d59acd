"""What any command prints with ``--json`` where it fails."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class Failed(Output):
    """What went wrong.

    Attributes:
        error: what to say to a person.
        exit_code: as the command ends: 2 the input was wrong, 3 a fault of Sfumato, 130 interrupted.
    """

    error: str
    exit_code: int


OUTPUTS = (Failed,)
