"""The report of a matrix: by what an attack is after, a line for every attack and a column for every scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sfumato import __version__
from sfumato.attacker.records import base as attacks
from sfumato.core.artifact import write_atomic
from sfumato.judge.report import pages

WORDS = {
    "picture": ("the picture itself", "likeness of the best reconstruction (SSIM; 1 is the picture itself)"),
    "condition": ("the outline (the condition)", "how much of it was found, and how little beside it (F1; 1 is all)"),
    "person": ("who is on it", "how often the right person came first in a line-up"),
    "prompt": ("the caption", "share of its words"),
    "candidate": ("which of your pictures it is, for somebody who already has them", "how often the right one was named"),
}


def write(out: Path, figures: dict[str, Any]) -> None:
    """``matrix.html`` with pictures, ``matrix.md`` as it is committed, a sheet of every scheme."""
    table, rows = figures["matrix"], attacks.rows()

    def entry(scheme: str, row: str) -> dict[str, Any] | None:
        name, _, variant = row.partition(":")
        found: dict[str, Any] | None = table[scheme].get(name)
        return found if found is None or not variant else found["variants"].get(variant)

    sheets = {}
    for scheme in table:
        shown = [("the pictures", "truth"), *((row, f"{scheme}-{row}") for row in rows)]
        kept = [(label, np.load(path)) for label, name in shown if (path := out / "pictures" / f"{pages.named(name)}.npy").exists()]
        if not kept:
            continue
        sheets[scheme] = pages.contact_sheet(kept)
        write_atomic(out / f"matrix-{pages.named(scheme)}.png", pages.png(sheets[scheme]))
    tried = [name for name in attacks.names() if any(name in table[scheme] for scheme in table)]
    after = {target: [n for n in tried if target in attacks.attack(n).TARGETS or _got(target, n, table)] for target in WORDS}
    write_atomic(out / "matrix.md", _markdown(figures, rows, entry, after).encode())
    values = {**figures, "rows": rows, "entry": entry, "after": after, "words": WORDS, "version": __version__}
    pages.write_page(out / "matrix.html", "matrix.html", {**values, "sheets": {s: pages.data_url(sheet) for s, sheet in sheets.items()}})


def _markdown(figures: dict[str, Any], rows: list[str], entry: Any, after: dict[str, list[str]]) -> str:
    """The table as it is committed: by target, an attack a line and a scheme a column; pools by a stroke, what is effective in bold."""
    lines = [f"<!-- written by {figures['command']} -->", ""]
    schemes = list(figures["matrix"])
    for target, (what, score) in WORDS.items():
        tried = [row for row in rows if row.partition(":")[0] in after[target]]
        if not tried:
            continue
        lines += [f"## {what[0].upper()}{what[1:]}", "", f"{score[0].upper()}{score[1:]}.", ""]
        lines += [f"| | {' | '.join(schemes)} |", "|" + " --- |" * (len(schemes) + 1)]
        ceiling = " / ".join(f"{kept[target]['score']:.3f}" for kept in figures["ceiling"].values() if target in kept)
        lines += [f"| {row} | {' | '.join(_words(entry(scheme, row), target) for scheme in schemes)} |" for row in tried]
        lines += ["", f"Ceiling, the true latents decoded: {ceiling}." if ceiling else "", ""]
    return "\n".join(lines)


def _words(entry: dict[str, Any] | None, target: str) -> str:
    if entry is None or entry["outcome"] != "scored":
        return "not run" if entry is None else entry["why"] if entry["outcome"] == "no channel" else f"failed: {entry['why']}"
    cells = [kept["targets"][target] for kept in entry["pools"].values() if target in kept["targets"]]
    said = [f"**{cell['score']:.3f}**" if cell["effective"] else f"{cell['score']:.3f}" for cell in cells]
    guess = max((max(cell["prior_only"], cell["chance"]) for cell in cells), default=0.0)
    return f"{' / '.join(said)} ({guess:.3f})" if said else "-"


def _got(target: str, name: str, table: dict[str, Any]) -> bool:
    """Whether ``target`` was scored of any variant of an attack, on any scheme."""
    entries = [entry for scheme in table.values() if name in scheme for entry in scheme[name].get("variants", {"": scheme[name]}).values()]
    return any(target in kept["targets"] for entry in entries for kept in entry["pools"].values())
