"""Markdown, for a comment on a change or a model's card."""

from __future__ import annotations

from sfumato.core.outside import printable
from sfumato.sharing.finding import Report
from sfumato.sharing.words import basis, cheapest, headline, sure


def write(report: Report) -> str:
    """A headline and what it rests on, a table, figures, and what was not tested."""
    lines = [f"**{headline(report)}**", "", _plain(basis(report)), ""]
    if fix := cheapest(report):
        lines += [f"Next: `{_plain(fix)}`", ""]
    lines += [*(f"- `{_plain(path)}`: {_plain(said)}" for path, said in report.audited.items()), ""]
    if report.findings:
        lines += ["| level | what | where | shown | fix |", "| --- | --- | --- | --- | --- |"]
    for one in report.findings:
        where = ", ".join(part for part in (one.path, one.place) if part)
        shown = "; ".join(one.examples) + (f" (passes: {one.ignored})" if one.ignored else "")
        cells = (f"{one.level}, {sure(one)}", one.reveals, f"`{where}`", shown, f"`{one.fix}`" if one.fix else "")
        lines.append("| " + " | ".join(_plain(cell) for cell in cells) + " |")
    if report.measured:
        lines += ["", "Measured in the weights:", ""]
        lines += [f"- {_plain(one.what)}, `{_plain(one.path)}`: {_plain(one.said)}" for one in report.measured]
    lines += ["", "Not tested:", ""] + [f"- {_plain(one.what)}: {_plain(one.why)}" for one in report.untested]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that stays in its cell."""
    return printable(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
