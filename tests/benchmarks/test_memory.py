"""The benchmark of memory goes through every task, by budget and at once, and its page says what it found."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest

from sfumato.diffusion import budget

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(base, monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_memory", ROOT / "benchmarks" / "memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "sd15_base", lambda side: copy.deepcopy(base))
    monkeypatch.setattr(budget, "BYTES", budget.BYTES)  # given back
    return module


@pytest.mark.parametrize("task", ["encode", "decode", "sample"])
@pytest.mark.parametrize("at_once", [False, True])
def test_every_task_is_measured(bench, task, at_once):
    found = bench.measure(task, 2, side=8, at_once=at_once)
    assert found["weights"] > 0 and found["above"] >= 0 and (budget.BYTES == bench.EVERYTHING) == at_once


def test_the_budget_keeps_every_task_small_at_the_size_of_sd():
    figures = json.loads((ROOT / "docs" / "memory.json").read_text())
    assert figures["pixels"] == 512 and set(figures["peak"]) == {"encode", "decode", "sample"}
    assert all(rows["by budget"]["above"] < 2e9 for rows in figures["peak"].values())
