"""The benchmark of the matching finds every record and counts its memory."""

import importlib.util
from pathlib import Path


def test_every_record_is_found(capsys):
    path = Path(__file__).parents[2] / "benchmarks" / "match_memory.py"
    spec = importlib.util.spec_from_file_location("match_memory", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(["--pictures", "300", "--audited", "20", "--side", "8"])
    assert found["right"] == 1 and found["peak_bytes"] >= found["peak_bytes_before"] > 0 and found["dense_bytes"] == 8 * 20 * 300
    assert str(found["peak_bytes"]) in capsys.readouterr().out
