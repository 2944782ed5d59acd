"""What ``sfumato vote --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class Vote(Output):
    """A ballot, and what its owner should know.

    Attributes:
        out, bytes: the file.
        owner: the name that signs.
        round, rounds: of the pool, and how many were agreed.
        unit, epsilon, delta, mu: what is guaranteed; mu is null where the noise is not secure.
        secure: whether the noise came from the system's secure source.
        clusters: of the menu.
        again: whether it is the ballot of an earlier run, written once more.
        skipped, notes: files that were left out, and what is easily overlooked. They stay here.
        card: the privacy card, in lines.
    """

    out: str
    owner: str
    round: int
    rounds: int
    unit: str
    epsilon: float
    delta: float
    mu: float | None
    secure: bool
    clusters: int
    bytes: int
    again: bool
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    card: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MenuSeen(Output):
    """A menu to look at; no vote was cast.

    Attributes:
        look: the PNG.
    """

    look: str


OUTPUTS = (Vote, MenuSeen)
