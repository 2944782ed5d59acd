"""What ``sfumato audit`` finds before and after ``sfumato scrub``: every planted leak in files of every dialect.

    python recipes/audit_table.py    # writes docs/audit.json

The files are those of the tests (tests/sharing_support.py): made from the conventions of other
programs, with one leak each, and one without any. No file was made by the programs themselves.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

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


def main(out: Path = OUT) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    write_json(out, {"command": "python recipes/audit_table.py", "version": __version__, **found})
    print(f"{found['files']} files")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
