"""How long attacks take, for ``assets/pace.json``: seconds of the cells of a matrix, which was run at effort "quick" on the tiny base.

python recipes/measure_pace.py docs/matrix.json

Attacks that learn from public people first (``LEARN``) take the same of any number of records, as far as this tells.
Others take so long a record. Of several schemes the slowest counts. Rows of "glance" are kept as they are: they were
timed in one audit of 200 records, in seconds of one busy core. ``probe`` is this machine's; run it where the matrix
was run, with nothing else beside.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from sfumato.attacker.records import base as attacks
from sfumato.core.artifact import write_json
from sfumato.diffusion.base import load_base
from sfumato.studies import pace

LEARN = ("direct_identity", "inverse_network", "own_controlnet", "pooling")


def from_cells(cells: dict[str, Any]) -> dict[str, list[float]]:
    """By attack ``[fixed seconds, seconds a record]``; an attack that no scheme gave anything to is left out."""
    found: dict[str, list[float]] = {}
    for name, cell in cells.items():
        row = name.partition("/")[2]
        count = sum(max((target["n"] for target in targets.values()), default=0) for targets in cell.get("pools", {}).values())
        if cell["outcome"] != "scored" or not count:
            continue
        learns = row.partition(":")[0] in LEARN
        now = [cell["seconds"], 0.0] if learns else [0.0, cell["seconds"] / count]
        found[row] = max(found.get(row, now), now)
    return {row: [round(fixed, 1), round(each, 4)] for row, (fixed, each) in sorted(found.items()) if row in attacks.rows()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures = json.loads(asked.matrix.read_text())
    known = pace.measured()
    known["seconds"]["quick"] = from_cells(figures["cells"])
    known |= {"probe": round(pace.probe(load_base()), 4), "command": f"python recipes/measure_pace.py {asked.matrix}"}
    write_json(Path(str(files("sfumato") / "assets" / "pace.json")), known)


if __name__ == "__main__":
    main()
