"""The benchmark of many adapters runs on any base and prints what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_prints_the_speedup_over_the_faster_baseline(mini: Path) -> None:
    how = ["--base", str(mini), "--k", "1", "2", "--rounds", "1", "--steps", "1", "--threads", "1", "--batch", "2", "--json"]
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks/many_lora.py"), *how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    rates = found["adapters_per_hour"]
    assert set(found["speedup"]) == set(rates["stacked"]) == {"1", "2"}
    fastest = max(rates["sequential"].values())
    assert all(abs(found["speedup"][k] - rates["stacked"][k] / fastest) < 1e-3 for k in ("1", "2")) and fastest > 0
