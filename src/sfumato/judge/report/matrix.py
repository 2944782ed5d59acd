"""The report of a matrix: by what an attack is after, a line for every attack and a column for every scheme."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfumato._version import __version__
from sfumato.attacker.records import base as attacks
from sfumato.core.artifact import write_atomic
from sfumato.judge.report import pages, words
from sfumato.judge.verdict import Verdict


def write(out: Path, figures: dict[str, Any]) -> None:
    """``matrix.html`` with pictures, ``matrix.md`` with the tables, a sheet of every scheme."""
    table, rows = figures["matrix"], attacks.rows()
    sheets = {}
    for scheme in table:
        shown = [("the pictures", "truth"), *((row, f"{scheme}-{row}") for row in rows)]
        kept = [(label, np.load(path)) for label, name in shown if (path := out / "pictures" / f"{pages.named(name)}.npy").exists()]
        if not kept:
            continue
        sheets[scheme] = pages.strips(kept)
        write_atomic(out / f"matrix-{pages.named(scheme)}.png", pages.png(pages.contact_sheet(kept)))
    tried = [name for name in attacks.names() if any(name in table[scheme] for scheme in table)]
    after = {target: _after(target, tried, table) for target in words.TARGETS}
    write_atomic(out / "matrix.md", markdown(figures, names=tried).encode())
    given = {
        scheme: ", ".join(f"{words.plainly(kind)} × {count}" for kind, count in figures["leaks"].get(scheme, {}).items())
        for scheme in table
    }
    values = {
        **figures, "rows": rows, "entry": partial(_entry, table), "after": after, "words": words.TARGETS, "version": __version__,
        "sheets": sheets, "given": given, "verdict": _verdict(table).as_json(),
    }  # fmt: skip
    pages.write_page(out / "matrix.html", "matrix.html", values)


def _verdict(table: dict[str, Any]) -> Verdict:
    """By scheme, how many of the attacks that came to a result got more than a guess; the most dangerous scheme first."""
    said = []
    for scheme, attacks_on in table.items():
        scored = [one for one in attacks_on.values() if one["outcome"] == "scored"]
        said.append((scheme, sum(bool(one["effective"]) for one in scored), len(scored)))
    said.sort(key=lambda item: -item[1] / max(1, item[2]))
    notes = tuple(f"{scheme}: {most} of the {count} attacks that came to a result got more than a guess" for scheme, most, count in said)
    if not any(count for *_, count in said):
        return Verdict("open", "No attack came to a result.", notes)
    found = any(most for _, most, _ in said)
    headline = "What leaves gives something away." if found else "No attack here got more than a guess. That is no guarantee."
    return Verdict("failed" if found else "open", headline, notes, ("sfumato attack RECORDS --truth PICTURES",))


def markdown(figures: dict[str, Any], *, names: list[str] | None = None) -> str:
    """The tables of a matrix, one for every target.

    An attack is a line and a scheme a column. A stroke parts the pools, what is effective stands in
    bold, what a guess without records gets in brackets.

    Args:
        figures: of the matrix.
        names: the attacks to show; all that are known if there are none, so that one without
            figures shows as not measured.
    """
    table, schemes = figures["matrix"], list(figures["matrix"])
    lines: list[str] = []
    for target, (what, score) in words.TARGETS.items():
        after = _after(target, attacks.names() if names is None else names, table)
        tried = [row for row in attacks.rows() if row.partition(":")[0] in after]
        if not tried:
            continue
        lines += [f"## {what[0].upper()}{what[1:]}", "", f"{score[0].upper()}{score[1:]}.", ""]
        lines += [f"| | {' | '.join(schemes)} |", "|" + " --- |" * (len(schemes) + 1)]
        ceiling = " / ".join(f"{kept[target]['score']:.3f}" for kept in figures["ceiling"].values() if target in kept)
        lines += [f"| {row} | {' | '.join(_words(_entry(table, scheme, row), target) for scheme in schemes)} |" for row in tried]
        lines += ["", f"Ceiling, the true latents decoded: {ceiling}." if ceiling else "", ""]
    return "\n".join(lines)


def _words(entry: dict[str, Any] | None, target: str) -> str:
    if entry is None or entry["outcome"] != "scored":
        return "not measured" if entry is None else entry["why"] if entry["outcome"] == "no channel" else f"failed: {entry['why']}"
    cells = [kept["targets"][target] for kept in entry["pools"].values() if target in kept["targets"]]
    said = [f"**{cell['score']:.3f}**" if cell["effective"] else f"{cell['score']:.3f}" for cell in cells]
    guess = max((max(cell["prior_only"], cell["chance"]) for cell in cells), default=0.0)
    return f"{' / '.join(said)} ({guess:.3f})" if said else "-"


def _entry(table: dict[str, Any], scheme: str, row: str) -> dict[str, Any] | None:
    name, _, variant = row.partition(":")
    found: dict[str, Any] | None = table[scheme].get(name)
    return found if found is None or not variant else found["variants"].get(variant)


def _after(target: str, names: list[str], table: dict[str, Any]) -> list[str]:
    """Which of the attacks ``names`` are after ``target``, by their own word or by what they got."""
    return [name for name in names if target in attacks.attack(name).TARGETS or _got(target, name, table)]


def _got(target: str, name: str, table: dict[str, Any]) -> bool:
    """Whether ``target`` was scored of any variant of an attack, on any scheme."""
    entries = [entry for scheme in table.values() if name in scheme for entry in scheme[name].get("variants", {"": scheme[name]}).values()]
    return any(target in kept["targets"] for entry in entries for kept in entry["pools"].values())
