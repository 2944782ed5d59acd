"""What ``sfumato matrix --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sfumato.cli.outputs._base import Output
from sfumato.judge.scores import Row


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """What was attacked, and how.

    Attributes:
        records: private records that are attacked; 0 for all.
        people, each: private people, and pictures of each.
        public, public_each: the same of the attackers' own.
        pools: of private people.
        condition, effort, seed: of the attacks.
        unet: digest of the base's UNet.
        version: of Sfumato.
    """

    records: int
    people: int
    each: int
    public: int
    public_each: int
    pools: tuple[str, ...]
    condition: str
    effort: str
    seed: int
    unet: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Matrix(Output):
    """Every attack on every scheme.

    Attributes:
        matrix: by scheme and attack.
        leaks: by scheme, what leaves by the name of its type, and how many releases of each picture.
        settings: what was attacked, and how.
    """

    matrix: dict[str, dict[str, Row]]
    leaks: dict[str, dict[str, int]]
    settings: MatrixSettings

    @classmethod
    def of(cls, figures: dict[str, Any]) -> Matrix:
        """What is printed of a matrix's figures."""
        from sfumato.core import typed_json

        return typed_json.read({name: figures[name] for name in ("matrix", "leaks", "settings")}, cls, what="the matrix")


OUTPUTS = (Matrix,)
