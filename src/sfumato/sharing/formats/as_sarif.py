"""SARIF 2.1.0, for the annotations of code hosts."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from sfumato._version import __version__
from sfumato.sharing.finding import Finding, Report
from sfumato.sharing.rules import RULES

_LEVEL = {"high": "error", "medium": "warning", "low": "note", "note": "none"}


def write(report: Report) -> str:
    """One SARIF log with one run; findings that pass are suppressed, with why."""
    used = sorted({one.rule for one in report.findings})
    driver = {
        "name": "sfumato audit", "version": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": RULES[rule].reveals},
             "defaultConfiguration": {"level": _LEVEL[RULES[rule].level]}}
            for rule in used
        ],
    }  # fmt: skip
    notes = [{"level": "warning" if one.asked else "note", "message": {"text": f"not tested: {one.what} ({one.why})"}}
             for one in report.untested]  # fmt: skip
    notes += [{"level": "note", "message": {"text": f"measured: {one.what}, {one.path}: {one.said}"}} for one in report.measured]
    run = {
        "tool": {"driver": driver}, "results": [_result(one, used) for one in report.findings],
        "invocations": [{"executionSuccessful": report.exit_code != 2, "exitCode": report.exit_code,
                         "toolExecutionNotifications": notes}],
    }  # fmt: skip
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1) + "\n"


def _result(one: Finding, used: list[str]) -> dict[str, Any]:
    where = one.place or "the file"
    text = f"{one.reveals} ({where}: {'; '.join(one.examples)})" if one.examples else f"{one.reveals} ({where})"
    result: dict[str, Any] = {
        "ruleId": one.rule, "ruleIndex": used.index(one.rule), "level": _LEVEL[one.level],
        "kind": "informational" if one.level == "note" else "fail",
        "message": {"text": text + (f" Fix: {one.fix}" if one.fix else "")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(one.path)}, "region": _region(one)}}],
        "partialFingerprints": {"ruleAndPlace/v1": "/".join(one.key)},
    }  # fmt: skip
    if one.ignored:
        result["suppressions"] = [{"kind": "external", "justification": one.ignored}]
    return result


def _uri(path: str) -> str:
    """The file's address, whatever bytes its name has: relative as it was named, or whole."""
    pure = PurePath(path)
    address = quote(pure.as_posix().encode("utf-8", "surrogateescape"))
    return f"file://{'' if address.startswith('/') else '/'}{address}" if pure.is_absolute() else address


def _region(one: Finding) -> dict[str, int]:
    """Where to show it: the line of a text, or the first byte of what has no lines."""
    number = one.place.removeprefix("line ")
    return {"startLine": int(number)} if number.isdecimal() else {"byteOffset": 0, "byteLength": 1}
