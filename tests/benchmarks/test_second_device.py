"""The benchmark of the whole path runs in small, wherever this machine computes, and names what failed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks/second_device.py"


def test_every_stage_runs_and_is_timed(tmp_path: Path) -> None:
    environment = {**os.environ, "SFUMATO_DEVICE": "cpu", "SFUMATO_HOME": str(tmp_path / "home"), "SFUMATO_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, str(SCRIPT), "--small"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    stages = {"load", "seal", "train", "generate", "seal without conditions", "derive", "attack", "compare"}
    assert set(found["seconds"]) == stages and found["total"] > 0 and found["device"] == "cpu"
    assert found["failed"] == {} and found["device_errors"] == []


def test_a_stage_that_fails_is_named_and_others_go_on() -> None:
    spec = importlib.util.spec_from_file_location("second_device_benchmark", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stages = module.Stages()

    def mixed() -> None:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices\nmore")

    assert stages.run("first", mixed) is None and stages.run("second", lambda: 7) == 7
    assert set(stages.seconds) == {"first", "second"} and list(stages.failed) == ["first"]
    assert len(stages.device_errors()) == 1 and stages.device_errors()[0].startswith("first: RuntimeError")
