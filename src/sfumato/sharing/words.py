"""What a report says in words, whatever it is written as."""

from __future__ import annotations

from collections import Counter

from sfumato.sharing.finding import LEVELS, Finding, Report


def headline(report: Report) -> str:
    """The verdict: a sentence."""
    failing = Counter(one.level for one in report.failing)
    if failing:
        worst = ", ".join(f"{failing[level]} {level}" for level in LEVELS if failing[level])
        return f"Do not share this yet: {worst}."
    passed = sum(1 for one in report.findings if one.level != "note")
    beside = f" {passed} findings pass by the policy or its level." if passed else ""
    if report.exit_code:
        return f"Not clean: something could not be tested.{beside}"
    return f"Nothing found beside the weights.{beside} What is in the weights was not tested."


def sure(one: Finding) -> str:
    """How sure a finding is."""
    return "certain" if one.certain else "looks so"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
