"""What an audit lets pass, and why: a policy as TOML, and the findings of an earlier report.

```toml
fail_on = "medium"        # the lowest level that fails; low by default

[[ignore]]
rule = "trigger"          # a rule's name, or * for all
path = "samples/*"        # a pattern for the file; all by default
reason = "drawn for the page"
until = 2027-01-01        # then it counts again
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sfumato.core.errors import UserError
from sfumato.core.outside import parse_json, read_bytes
from sfumato.sharing.finding import LEVELS, SCHEMA, Finding, Level
from sfumato.sharing.rules import RULES

BYTES = 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignore:
    """Findings of ``rule`` in files like ``path`` pass until a day, for a reason."""

    rule: str
    path: str
    reason: str
    until: date

    def lets(self, one: Finding, today: date) -> bool:
        """Whether ``one`` passes today."""
        return self.rule in ("*", one.rule) and fnmatchcase(one.path, self.path) and today < self.until


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The lowest level that fails, and what is let pass."""

    fail_on: Level = "low"
    ignores: tuple[Ignore, ...] = ()


def read(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UserError: no TOML, a key or a rule that is not known, a level that is none, an entry without a reason or an end.
    """
    try:
        said = tomllib.loads(read_bytes(path, what="a policy as TOML", limit=BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}", expected="a policy as TOML") from error
    if unknown := set(said) - {"fail_on", "ignore"}:
        raise UserError(f"{path}: {sorted(unknown)[0]}", expected="fail_on and [[ignore]]")
    level = said.get("fail_on", "low")
    if level not in LEVELS[:-1]:
        raise UserError(f"{path}: fail_on = {level!r}", expected=", ".join(LEVELS[:-1]))
    entries = said.get("ignore", [])
    if not isinstance(entries, list):
        raise UserError(f"{path}: ignore is no list", expected="[[ignore]] for each")
    return Policy(fail_on=level, ignores=tuple(_ignore(path, number, entry) for number, entry in enumerate(entries, 1)))


def _ignore(path: Path, number: int, entry: Any) -> Ignore:
    what = f"{path}: entry {number} of ignore"
    if not isinstance(entry, dict) or set(entry) - {"rule", "path", "reason", "until"}:
        raise UserError(what, expected="rule, path, reason and until")
    rule, pattern, reason, until = (entry.get(key) for key in ("rule", "path", "reason", "until"))
    if rule != "*" and rule not in RULES:
        raise UserError(f"{what}: rule {rule!r}", expected=f"* or one of {', '.join(RULES)}")
    if not isinstance(reason, str) or not reason.strip() or not isinstance(until, date):
        raise UserError(what, expected="a reason as text, and until as a date: 2027-01-01", fix="say why, and when it counts again")
    if pattern is not None and not isinstance(pattern, str):
        raise UserError(f"{what}: path {pattern!r}", expected="a pattern such as samples/*")
    day = until if type(until) is date else date(until.year, until.month, until.day)
    return Ignore(rule=rule, path=pattern or "*", reason=reason, until=day)


def baseline(path: Path) -> set[tuple[str, str, str]]:
    """The keys of the findings of an earlier report, as ``audit --format json`` wrote it.

    Raises:
        UserError: it is none.
    """
    said = parse_json(read_bytes(path, what="a report as JSON", limit=BYTES), name=str(path), what="a report of sfumato audit")
    try:
        if said["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {said['schema']!r}", expected=f"{SCHEMA}", fix="write the report again with this version")
        return {(str(one["rule"]), str(one["path"]), str(one["place"])) for one in said["findings"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: no report of sfumato audit", expected="what audit --format json wrote") from error


def applied(
    findings: Iterable[Finding], policy: Policy, before: set[tuple[str, str, str]], *, today: date | None = None
) -> list[Finding]:  # fmt: skip
    """The findings, each with why it is let pass where it is."""
    day, said = today or date.today(), []
    for one in findings:
        why = next((f"{entry.reason} (until {entry.until})" for entry in policy.ignores if entry.lets(one, day)), "")
        if not why and one.key in before:
            why = "in the baseline"
        said.append(replace(one, ignored=why))
    return said
