"""What ``sfumato generate --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class Generate(Output):
    """What was generated.

    Attributes:
        pictures: paths of the PNGs.
    """

    pictures: tuple[str, ...]


OUTPUTS = (Generate,)
