"""What ``sfumato attack --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.api.attack import Attacked, Exposure
from sfumato.cli.outputs._base import Output
from sfumato.cli.outputs.matrix import Matrix


@dataclass(frozen=True, kw_only=True)
class Attack(Exposure, Output):
    """What an audit by attacks found, as ``sfumato.api.attack.Exposure`` says it.

    Attributes:
        out: the private folder of the audit.
    """

    out: str

    @classmethod
    def of(cls, attacked: Attacked) -> Attack:
        """What is printed of a result."""
        return cls(out=str(attacked.out), **{name: getattr(attacked, name) for name in Exposure.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One attack, or one variant of it.

    Attributes:
        name: what it is called by.
        does: in a line.
        asks: targets that it goes for.
        needs, may_use: by type, what it cannot do without, and what it takes where there is some.
        asks_first: the attack whose answer it needs, if any.
        records: how many it takes at most; null where it is left out at this effort.
        seconds: how long it takes; null where it was never timed, or is left out.
    """

    name: str
    does: str
    asks: tuple[str, ...]
    needs: tuple[str, ...]
    may_use: tuple[str, ...]
    asks_first: str | None
    records: int | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Listing(Output):
    """What ``--list`` prints.

    Attributes:
        effort: that times are for.
        of_records: how many records times are for.
        attacks: every one of them.
    """

    effort: str
    of_records: int
    attacks: tuple[Listed, ...]


OUTPUTS = (Attack, Listing, Matrix)
