"""The benchmark of many adapters runs on any base and prints what it promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from forked import forked

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def threads() -> Any:
    """The benchmark sets how many; given back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_prints_the_speedup_over_the_faster_baseline(mini: Path, threads: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.syspath_prepend(FOLDER)  # its processes import it, too
    import many_lora

    monkeypatch.setattr(many_lora.multiprocessing, "get_context", lambda how: forked())
    how = ["--base", str(mini), "--k", "1", "2", "--rounds", "1", "--steps", "1", "--threads", "1", "--batch", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["many_lora.py", *how])
    many_lora.main()
    found = json.loads(capsys.readouterr().out)
    rates = found["adapters_per_hour"]
    assert set(found["speedup"]) == set(rates["stacked"]) == {"1", "2"}
    fastest = max(rates["sequential"].values())
    assert all(abs(found["speedup"][k] - rates["stacked"][k] / fastest) < 1e-3 for k in ("1", "2")) and fastest > 0
