"""What ``sfumato audit`` finds before and after ``sfumato scrub``: every planted leak in files of every dialect.

    python recipes/audit_table.py            # writes docs/audit.json
    python recipes/audit_table.py --cost     # only how long it takes anew, on a quiet machine

The files are those of the tests (tests/sharing_support.py): made from the conventions of other
programs, with one leak each, and one without any. No file was made by the programs themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import sharing_support as support  # noqa: E402
from sfumato._version import __version__  # noqa: E402
from sfumato.adapters import formats, scrub  # noqa: E402
from sfumato.core.artifact import write_json  # noqa: E402
from sfumato.core.errors import UserError  # noqa: E402
from sfumato.sharing import file as files  # noqa: E402

OUT = ROOT / "docs" / "audit.json"


def measure(folder: Path) -> dict[str, Any]:
    """Per dialect and per leak: files, how many were found in, and what the copies still say."""
    dialects, leaks = {}, {rule: Counter[str]() for rule in support.LEAKS}
    count = 0
    for number, (dialect, (shapes, _)) in enumerate(support.DIALECTS.items()):
        kind = support.TYPES[number % len(support.TYPES)]
        clean = support.write(folder / "clean.safetensors", shapes, support.USEFUL, kind)
        said, findings, _ = files.of_file(clean)
        row = {"said": said, "planted": 0, "found": 0, "left": 0, "alarms": [one.rule for one in findings if one.level != "note"],
               "change": _change(clean)}  # fmt: skip
        count += 1
        for rule in support.LEAKS:
            found, left = _one(folder, shapes, rule, kind)
            count += 1
            row["planted"] += 1
            row["found"] += found
            left = [one for one in left if one not in row["alarms"]]
            row["left"] += len(left)
            leaks[rule].update(planted=1, found=int(found), left=len(left))
        dialects[dialect] = row
    return {"files": count, "dialects": dialects, "leaks": {rule: dict(found) for rule, found in leaks.items()}}


def _one(folder: Path, shapes: dict[str, Any], rule: str, kind: Any) -> tuple[bool, list[str]]:
    """Whether one planted leak is found, and the findings that the scrubbed copy still has."""
    file = support.write(folder / "leak.safetensors", shapes, support.notes_of(rule), kind)
    out = folder / "scrubbed.safetensors"
    findings = files.of_file(file)[1]
    shown = any(one.rule == rule and support.LEAKS[rule][1] in " ".join(one.examples) for one in findings)
    scrub.scrub(file, out)
    return shown, [one.rule for one in files.of_file(out)[1] if one.level != "note"]


def _change(file: Path) -> str:
    """Whether the change of the weights can be computed from the file alone."""
    try:
        formats.read(file)
    except UserError:
        return "named"
    return "computed"


LAYERS, RANK, WIDE = 1220, 32, 1280  # 200 MB in half precision
MANY = 100_000  # files of a folder
_KINDS = ("img_{}.png", "caption_{}.txt", "set_{}_sd.npz", "weights_{}.bin", "data_{}.dat")


def cost(folder: Path, *, layers: int = LAYERS, many: int = MANY) -> dict[str, dict[str, float]]:
    """How long the command takes, start included, and how much memory: of a large LoRA file, and of a folder of very many files."""
    large, output = folder / "large.safetensors", folder / "output"
    _large(large, layers)
    for number in range(many):
        path = output / f"part_{number // 1000}" / _KINDS[number % len(_KINDS)].format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return {
        "file": {"bytes": large.stat().st_size, **_timed("audit", str(large))},
        "like": {"bytes": 2 * large.stat().st_size, **_timed("audit", str(large), "--like", str(large))},
        "folder": {"files": many, **_timed("audit", str(output))},
    }


def _large(path: Path, layers: int) -> None:
    """A LoRA of random numbers, written a layer at a time."""
    entries: dict[str, Any] = {}
    at, size = 0, RANK * WIDE * 2
    for number in range(layers):
        for part, shape in (("down", [RANK, WIDE]), ("up", [WIDE, RANK])):
            name = f"lora_unet_input_blocks_4_1_transformer_blocks_{number}_attn1_to_q.lora_{part}.weight"
            entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
    text, draws = json.dumps(entries).encode(), np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in entries:
            file.write(draws.standard_normal(RANK * WIDE).astype(np.float16).tobytes())


# The command in a process of its own, which writes its own peak: what the system says of a child holds its parent's memory, too.
_RUN = """
import re, sys
from sfumato.cli.main import main
peak, *sys.argv[1:] = sys.argv[1:]
try:
    main()
finally:
    with open("/proc/self/status") as said, open(peak, "w") as file:
        file.write(re.search(r"VmHWM:\\s+([0-9]+)", said.read())[1])
"""


def _timed(*words: str) -> dict[str, float]:
    """Seconds by the clock and of the processor, and peak megabytes, of one command."""
    with tempfile.NamedTemporaryFile("r") as peak:
        started = time.monotonic()
        child = subprocess.Popen([sys.executable, "-c", _RUN, peak.name, *words], stdout=subprocess.DEVNULL)
        _, _, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        return {"seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime, "peak_mb": int(peak.read()) * 1024 / 1e6}


def main(out: Path = OUT, *, cost_alone: bool = False) -> None:
    """Write the table, and what it costs."""
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(out.read_text()) if cost_alone else measure(Path(folder))
        found["cost"] = cost(Path(folder))
    write_json(out, {**found, "command": "python recipes/audit_table.py", "version": __version__})
    print(f"{found['files']} files; {found['cost']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", action="store_true", help="measure only how long it takes")
    main(cost_alone=parser.parse_args().cost)
