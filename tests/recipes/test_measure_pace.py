"""Seconds by attack, read off a matrix's cells."""

from __future__ import annotations

import json
from pathlib import Path

from sfumato.studies import pace
from tests_support import load_recipe


def cell(seconds: float, n: int = 0, outcome: str = "scored") -> dict:
    return {"outcome": outcome, "seconds": seconds, "pools": {pool: {"picture": {"n": n}} for pool in ("a", "b")} if n else {}}


def test_the_slowest_scheme_counts_and_who_learns_takes_the_same_of_any_number():
    cells = {
        "split/diffusion_prior:ddim": cell(10.0, 50),
        "sealed/diffusion_prior:ddim": cell(30.0, 50),
        "sealed/direct_identity": cell(200.0, 500),
        "sealed/fsha": cell(0.0, outcome="no channel"),
        "sealed/rmle": cell(9.0, 16, outcome="failed"),
        "sealed/of somebody else": cell(9.0, 16),
    }
    found = load_recipe("measure_pace").from_cells(cells)
    assert found == {"diffusion_prior:ddim": [0.0, 0.3], "direct_identity": [200.0, 0.0]}


def test_what_ships_is_what_the_committed_matrix_took():
    cells = json.loads((Path(__file__).parents[2] / "docs/matrix.json").read_text())["cells"]
    found, shipped = load_recipe("measure_pace").from_cells(cells), pace.measured()["seconds"]["quick"]
    assert {row: shipped[row] for row in found} == found
