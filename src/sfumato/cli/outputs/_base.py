"""What every object of ``--json`` has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Output:
    """The one object that a command prints.

    Attributes:
        schema: the version of its form.
    """

    schema: Literal[1] = 1
