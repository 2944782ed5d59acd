"""What every scheme sends and holds at Stable Diffusion 1.5's size, computed from its true shapes: docs/sd15.json.

python recipes/sd15_table.py
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sfumato._version import __version__
from sfumato.core.artifact import write_json
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.shapes import sd15
from sfumato.studies.training import footprint

DOCS = Path(__file__).parent.parent / "docs"


def main(out: Path = DOCS / "sd15.json") -> None:
    quiet_libraries()
    shapes = sd15()
    rows = footprint.table(shapes, pictures=1000)
    write_json(
        out,
        {
            "shapes": asdict(shapes),
            "pictures_of_an_owner": 1000,
            "schemes": rows,
            "command": "python recipes/sd15_table.py",
            "version": __version__,
        },
    )
    for name, row in rows.items():
        totals = " ".join(f"{value / 1e6:>10,.2f}" for value in row["total_after_epochs"].values())
        up, down = row["bytes_up_per_picture_and_epoch"], row["bytes_down_per_picture_and_epoch"]
        print(f"{name:22} {up:>12,.0f} up {down:>12,.0f} down {totals} MB, holds {row['owner_holds_bytes'] / 1e6:>8,.0f} MB")


if __name__ == "__main__":
    main()
