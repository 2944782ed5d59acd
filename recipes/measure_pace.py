"""How long attacks on an owner's records take, for ``assets/pace.json``, read off audits that were run.

    SFUMATO_DEVICE=cpu OMP_NUM_THREADS=1 sfumato attack RECORDS --truth PICTURES --effort quick -o audit
    python recipes/measure_pace.py audit/attack.json [MORE/attack.json ...]

Run the audit alone on the machine, with one thread, on the tiny base: seconds are those of one
busy core. ``probe`` is what the base's UNet takes there, and tells a slower machine by itself.
Attacks that learn from public people first (``LEARN``) take the same of any number of records, as
far as this tells; others take so long a record. What has nothing to work on in records takes
nothing. Of several audits the slowest counts. Efforts that no audit here has stay as they are.
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
from sfumato.studies.records import pace

LEARN = ("direct_identity", "inverse_network", "own_controlnet", "pooling")


def from_audit(audit: dict[str, Any]) -> dict[str, list[float]]:
    """By attack ``[fixed seconds, seconds a record]``, the judge's included; what failed or was left out is not there."""
    found: dict[str, list[float]] = {}
    for name, cell in audit["cells"].items():
        row = name.partition("/")[2]
        if row not in attacks.rows():
            continue
        if cell["outcome"] == "no channel":
            if row.partition(":")[0] not in LEARN:  # who learns may find something in other records, and then takes long
                found[row] = [0.0, 0.0]
        elif cell["outcome"] == "scored":
            seconds = cell["in all"]
            given = max(target["n"] for targets in cell["pools"].values() for target in targets.values())
            found[row] = [round(seconds, 1), 0.0] if row.partition(":")[0] in LEARN else [0.0, round(seconds / given, 4)]
    return dict(sorted(found.items()))


def slowest(several: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Of each row what took longest."""
    rows = sorted({row for found in several for row in found})
    return {row: max(found[row] for found in several if row in found) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audits", type=Path, nargs="+")
    parser.add_argument("--probe", type=float, help="What the probe took beside the audits, where the machine has another pace by now.")
    parser.add_argument("--out", type=Path, default=Path(str(files("sfumato") / "assets" / "pace.json")))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    audits = [json.loads(path.read_text()) for path in asked.audits]
    known = pace.measured()
    for effort in sorted({audit["settings"]["effort"] for audit in audits}):
        of_this = [audit for audit in audits if audit["settings"]["effort"] == effort]
        idle = {row: took for row, took in known["seconds"].get(effort, {}).items() if not any(took)}  # what had nothing to work on
        known["seconds"][effort] = dict(sorted((idle | slowest([from_audit(audit) for audit in of_this])).items()))
        known.setdefault("audited", {})[effort] = [audit["audited"] for audit in of_this if "audited" in audit]
    command = "python recipes/measure_pace.py " + " ".join(f"{path.parent.name}/{path.name}" for path in asked.audits)
    write_json(asked.out, known | {"probe": round(asked.probe or pace.probe(load_base()), 4), "command": command})


if __name__ == "__main__":
    main()
