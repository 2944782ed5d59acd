"""What a report says in words, whatever it is written as."""

from __future__ import annotations

from collections import Counter

from sfumato.sharing.finding import LEVELS, Finding, Report


def headline(report: Report) -> str:
    """The verdict: its level and a sentence."""
    failing = Counter(one.level for one in report.failing)
    if failing:
        worst = ", ".join(f"{failing[level]} {level}" for level in LEVELS if failing[level])
        return f"{report.level.upper()}. Do not share this yet: {worst}."
    passed = sum(1 for one in report.findings if one.level != "note")
    beside = f" {passed} findings pass by the policy or its level." if passed else ""
    if report.exit_code:
        return f"NOT TESTED. Not clean: something could not be tested.{beside}"
    if report.attacked:
        return f"LOW. Nothing was found that these attacks can find.{beside} Another attack may find more."
    return f"NOT TESTED. Nothing found beside the weights.{beside} What is in the weights was not tested."


def basis(report: Report) -> str:
    """What the verdict rests on: what the attacker knew, and the figure that says most with its interval and n; empty without one."""
    several = dict.fromkeys(one.knew for one in report.measured if one.knew)
    known = [one for one in several if not any(other != one and other.startswith(one) for other in several)]
    if not known:
        return "The attacker knew the file alone, and asked no base." if report.audited else ""
    said = f"The attacker knew {'; '.join(known)}."
    figures = [one for one in report.measured if one.low is not None and one.high is not None and one.value is not None]
    if not figures:
        return said + " Nothing was measured against private pictures: without them a figure has no truth to be held against."
    said_of = [text for one in report.failing for text in one.examples]
    figures = [one for one in figures if any(text.startswith(one.what) for text in said_of)] or figures
    most = max(figures, key=lambda one: (one.low or 0.0) - (one.chance or 0.0))
    chance = "" if most.chance is None else f", chance {most.chance:.2g}"
    return f"{said} {most.what[:1].upper()}{most.what[1:]}: {most.value:.2f} [{most.low:.2f}, {most.high:.2f}]{chance}, n = {most.n}."


def cheapest(report: Report) -> str:
    """The command that takes away most of what fails for the least: headers before another training. Empty where none does."""
    commands = [one.fix for one in report.failing if one.fix.startswith("sfumato ")]
    scrubs = [fix for fix in commands if fix.startswith("sfumato scrub ")]
    return next(iter(scrubs or commands), "")


def sure(one: Finding) -> str:
    """How sure a finding is."""
    return "certain" if one.certain else "looks so"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
