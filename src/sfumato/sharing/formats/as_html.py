"""One page for a person: the verdict first, no request to anywhere, light and dark, readable on a telephone."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from sfumato.core.outside import printable
from sfumato.sharing.finding import Report
from sfumato.sharing.words import basis, cheapest, headline, size, sure

FIXES = 5  # beside the verdict; a fix that is not there stands with its finding


def write(report: Report) -> str:
    """The page, whole."""
    pages = Environment(loader=PackageLoader("sfumato", "assets/pages"), autoescape=True, undefined=StrictUndefined)
    fixes = [cheapest(report), *(one.fix for one in report.failing)]
    state = "failed" if report.failing else "open"  # never passed: no attack is the last
    verdict = {
        "state": state, "headline": headline(report), "notes": [basis(report)],
        "commands": list(dict.fromkeys(fix for fix in fixes if fix))[:FIXES],
    }  # fmt: skip
    return printable(pages.get_template("audit.html").render(report=report, verdict=verdict, sure=sure, size=size)) + "\n"
