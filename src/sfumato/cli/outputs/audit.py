"""What ``sfumato audit --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.outputs._base import Output
from sfumato.sharing.finding import Finding, Level, Untested


@dataclass(frozen=True, kw_only=True)
class Audit(Output):
    """What files and folders give away, as ``sfumato.Report`` has it.

    Attributes:
        audited: what each named path is, by path.
        findings: the worst first.
        untested: what stays open, which is never clean.
        fail_on: the lowest level that fails.
        files, bytes: how many were looked at.
        failing: how many findings fail.
        exit_code: as the command ends.
    """

    audited: dict[str, str]
    findings: tuple[Finding, ...]
    untested: tuple[Untested, ...]
    fail_on: Level
    files: int
    bytes: int
    failing: int
    exit_code: int


OUTPUTS = (Audit,)
