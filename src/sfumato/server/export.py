"""What is shared of a training, and what is not: a ControlNet's folder and the work folder beside it.

The folder holds what a user needs, and numbers of records and owners. Names, keys, ledgers, settings and the server's seed, checkpoints,
derived pairs and validation pictures (which show decoded private conditions) stay in the work folder, which its owner alone can open.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sfumato.diffusion.controlnet_folder import CONFIG, SETTINGS, WEIGHTS

PROVENANCE = "provenance.json"
SHARED = {
    CONFIG: "the network's shape, as stock diffusers has it",
    WEIGHTS: "the weights, averaged over steps: made from all records",
    SETTINGS: "base, condition, how to sample, scheme and guarantee, how many records and owners; no names, keys or seeds",
}


class Item(NamedTuple):
    """One file of a folder."""

    file: str
    bytes: int
    what: str
    private: bool


def contents(folder: Path) -> list[Item]:
    """Every file below a ControlNet's ``folder``; ``private`` is whatever ``train`` does not put there to be shared."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file()):
        name = path.relative_to(folder).as_posix()
        known = SHARED.get(name) if not path.is_symlink() else None
        found.append(Item(name, path.lstat().st_size, known or "not a part of a ControlNet: look before you share it", known is None))
    return found


def work_folder(out: Path, work: Path | None = None) -> Path:
    """The work folder of ``out``, by default ``OUT-work`` beside it, made if need be and closed to others."""
    chosen = out.resolve().with_name(f"{out.resolve().name}-work") if work is None else work
    chosen.mkdir(parents=True, exist_ok=True)
    chosen.chmod(0o700)
    return chosen
