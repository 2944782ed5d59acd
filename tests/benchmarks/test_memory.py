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


def test_the_page_says_what_was_measured():
    figures = json.loads((ROOT / "docs" / "memory.json").read_text())
    page = (ROOT / "docs" / "schemes.md").read_text()
    assert figures["command"] in page and figures["pixels"] == 512
    for task, rows in figures["peak"].items():
        cells = [f"{rows[row]['above'] / 1e9:.2f} GB" for row in ("by budget", "at once")]
        assert f"| {task} | {' | '.join(cells)} |" in page
        assert rows["by budget"]["above"] < 2e9
