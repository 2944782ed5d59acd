"""What ``sfumato audit --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sfumato.cli.outputs._base import Output
from sfumato.sharing.finding import Finding, Level, Measured, Untested


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A row of pictures, which the page alone shows.

    Attributes:
        path: the file that they are about.
        label: what they are.
    """

    path: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Audit(Output):
    """What files and folders give away, as ``sfumato.Report`` has it.

    Attributes:
        audited: what each named path is, by path.
        findings: the worst first.
        untested: what stays open, which is never clean.
        fail_on: the lowest level that fails.
        files, bytes: how many were looked at.
        measured: figures of the weights.
        shown: rows of pictures that ``--format html`` shows.
        level: the verdict.
        failing: how many findings fail.
        exit_code: as the command ends.
    """

    audited: dict[str, str]
    findings: tuple[Finding, ...]
    untested: tuple[Untested, ...]
    fail_on: Level
    files: int
    bytes: int
    measured: tuple[Measured, ...]
    shown: tuple[Shown, ...]
    level: Literal["high", "medium", "low", "not tested"]
    failing: int
    exit_code: int


OUTPUTS = (Audit,)
