"""What a guarantee rules out, at the epsilons that the pages speak of: ``docs/identification.json``.

    python recipes/identification.py

Computed, not measured: mu of the Gaussian mechanism that is (epsilon, delta)-private, and the chance
that is not exceeded by whoever picks the right one of M equally likely candidates.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfumato import __version__
from sfumato.accounting import accountant, gaussian
from sfumato.core.artifact import write_json

EPSILONS = (1, 4, 21)
CANDIDATES = (200, 1_000_000)


def bounds() -> dict[str, dict[str, Any]]:
    """By epsilon: mu, and the bound by the number of candidates."""
    found = {}
    for epsilon in EPSILONS:
        mu = gaussian.target_mu(epsilon, accountant.DELTA)
        found[f"epsilon {epsilon}"] = {"mu": mu} | {f"of {m}": gaussian.identification(m, mu) for m in CANDIDATES}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "identification.json")
    asked = parser.parse_args()
    guess = {f"of {m}": 1 / m for m in CANDIDATES}
    made = {"command": "python recipes/identification.py", "version": __version__, "delta": accountant.DELTA, "guess": guess, **bounds()}
    write_json(asked.out, made)


if __name__ == "__main__":
    main()
