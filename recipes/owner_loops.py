"""What came of ``examples/owner_loop.py`` on several folders, as figures without a picture: ``docs/owner_loop.json``.

    python examples/owner_loop.py folders/emoji --out loops/emoji --public folders/emoji-public --steps 800 900
    python recipes/owner_loops.py loops/emoji loops/photos loops/avatars

``recipes/loop_folders.py`` makes the folders.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sfumato import __version__
from sfumato.core.artifact import write_json


def of_loop(folder: Path) -> dict[str, Any]:
    """Each attack of a loop: of which step, how many records, every gate in words, the verdict's headline."""
    rows = []
    for one in json.loads((folder / "loop.json").read_text())["attacked"]:
        page = folder / Path(one["page"]).parent.name / "attack.json"
        audit = json.loads(page.read_text())
        row = {
                "step": one["step"],
                "trial": one["trial"],
                "exit_code": one["exit_code"],
                "records": audit["records"],
                "audited": audit["audited"],
                "matched": audit["matched"],
                "headline": audit["verdict"]["headline"],
                "gates": {gate["name"]: {"result": one["gates"][gate["name"]], "found": gate["found"]} for gate in audit["gates"]},
                "attacks": sum(cell["outcome"] == "scored" for cell in audit["cells"].values()),
                "minutes": round(sum(cell.get("in all", 0) for cell in audit["cells"].values()) / 60, 1),
        }  # fmt: skip
        rows.append(row)
    return {"attacked": rows, "sealed": bool(rows) and not rows[-1]["trial"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loops", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "owner_loop.json")
    asked = parser.parse_args()
    found = {folder.name: of_loop(folder) for folder in asked.loops}
    names = " ".join(f"loops/{name}" for name in found)
    write_json(asked.out, {"command": f"python recipes/owner_loops.py {names}", "version": __version__, "folders": found})


if __name__ == "__main__":
    main()
