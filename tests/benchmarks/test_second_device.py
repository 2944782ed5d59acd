"""The benchmark of the whole path runs in small, wherever this machine computes, and names what failed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sfumato.server import derive, generate
from tests_support import few_steps, load_benchmark, owners_here


@pytest.fixture(scope="module")
def module() -> Any:
    return load_benchmark("second_device")


def test_every_stage_runs_and_is_timed(module: Any, home: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SFUMATO_DEVICE", "cpu")
    owners_here(monkeypatch)
    few_steps(monkeypatch, derive, generate, steps=2)
    load, measure = module.compare.store.load, module.compare.step_time.measure
    monkeypatch.setattr(module.compare.store, "load", lambda style, pool, n, **how: load(style, pool, min(n, 60), **how))  # of 1200 probes
    monkeypatch.setattr(module.compare.step_time, "measure", lambda base, **how: measure(base, batch=2, rounds=1, steps=1))
    monkeypatch.setattr(sys, "argv", ["second_device.py", "--small"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err[-3000:]
    found = json.loads(said.out)
    stages = {"load", "seal", "train", "generate", "seal without conditions", "derive", "attack", "compare"}
    assert set(found["seconds"]) == stages and found["total"] > 0 and found["device"] == "cpu"
    assert found["failed"] == {} and found["device_errors"] == []


def test_a_stage_that_fails_is_named_and_others_go_on(module: Any) -> None:
    stages = module.Stages()

    def mixed() -> None:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices\nmore")

    assert stages.run("first", mixed) is None and stages.run("second", lambda: 7) == 7
    assert set(stages.seconds) == {"first", "second"} and list(stages.failed) == ["first"]
    assert len(stages.device_errors()) == 1 and stages.device_errors()[0].startswith("first: RuntimeError")
