"""Write the JSON schemas of what ``--json`` prints to ``docs/reference/schemas``, from the types.

    python recipes/docs_schemas.py            # write them
    python recipes/docs_schemas.py --check    # exit code 1 where one is missing, stale or of no command

A command's types lie in ``src/sfumato/cli/outputs``, in a file of its name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sfumato.cli import outputs
from sfumato.core import typed_json

FOLDER = Path(__file__).resolve().parents[1] / "docs/reference/schemas"


def schemas() -> dict[str, str]:
    """The text of every schema, by the name of its file."""
    return {
        f"{name}.json": json.dumps(typed_json.schema(kinds, title=f"sfumato {name} --json"), indent=1) + "\n"
        for name, kinds in outputs.known()
    }  # fmt: skip


def stale(folder: Path) -> list[str]:
    """Files that are not what the types say."""
    wanted = schemas()
    there = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(folder: Path) -> list[str]:
    """Write what is missing or stale, and take away what is of no command; gives their names."""
    wanted, changed = schemas(), stale(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name])
        else:
            (folder / name).unlink()
    return changed


def main() -> None:
    """Write them, or look whether they are fresh."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where one is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    changed = stale(asked.folder) if asked.check else write(asked.folder)
    print("\n".join(changed) if changed else "all fresh")
    if asked.check and changed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
