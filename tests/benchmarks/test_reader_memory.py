"""The benchmark of the reader runs, reads every record, and a server's memory is far below what lies on the disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests_support import load_benchmark

ROOT = Path(__file__).parents[2]


def test_a_server_holds_a_part_of_what_it_reads(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Records are written here, and read by a process that the benchmark starts."""
    how = ["--records", "3200", "--bits", "8", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["reader_memory.py", *how])
    load_benchmark("reader_memory").main()
    found = json.loads(capsys.readouterr().out)
    assert found["records"] == 3200 and found["refused"] == 0 and found["bytes_on_disk"] > 3200 * 4 * 64 * 64 * 2
    assert found["above_bytes"] < 2**25 < found["bytes_on_disk"] // 3
    assert not list(tmp_path.iterdir())


def test_the_figures_in_the_docs_are_measured_where_they_say_so_and_flat() -> None:
    found = json.loads((ROOT / "docs/reader_memory.json").read_text())
    small, large, largest = found["after"]
    assert small["records"] < large["records"] < largest["records"] == 100_000
    assert large["above_bytes"] < 1.2 * small["above_bytes"] < 2**26 > largest["above_bytes"] and largest["peak_bytes"] < 500e6
    assert "not measured" in found["before at 100000"]["how"]
    assert all(row["above_over_disk"] > 6 for row in found["before"])
