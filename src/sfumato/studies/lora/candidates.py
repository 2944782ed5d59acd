"""A user's own line-up: other pictures of people, one of whom may be in a shared file, and who of
them it most likely is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sfumato.attacker.attempt import Effort, Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights._shadows import PublicAdapters
from sfumato.attacker.weights.base import Guess, LineUp
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base
from sfumato.owner.folder import read_folder

MOST = 5  # pictures of each candidate
SHOWN = 5  # candidates
FIX = "put a `person` into every row of metadata.jsonl, or the pictures of each person into a folder of their own"


def read_candidates(folder: Path, *, base: Base) -> tuple[LineUp, tuple[str, ...]]:
    """The people of a folder, sorted, as many pictures of each as the one with the fewest has; and
    their names.

    Args:
        folder: with a table that has a ``person`` column, or with a folder of pictures for each
            person.
        base: whose latents are wanted.

    Raises:
        UserError: no such folder, a picture of nobody or of fewer than two people, or one that
            cannot be read.
    """
    folder = Path(folder)
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    tables = any((folder / name).is_file() for name in ("metadata.jsonl", "metadata.csv"))
    people: dict[str, list[Any]] = {}
    if below and not tables:
        people = {path.name: list(read_folder(path, size=base.size, condition="canny")) for path in below}
    else:
        for example in read_folder(folder, size=base.size, condition="canny"):
            people.setdefault(example.person, []).append(example)
    if "" in people or len(people) < 2:
        got = f"{len(people.get('', ()))} pictures of nobody" if "" in people else f"{len(people)} people"
        raise UserError(f"{folder}: {got}", expected="pictures of two people at least, each of somebody", fix=FIX)
    names, count = tuple(sorted(people)), min(MOST, *map(len, people.values()))
    images = np.stack([np.stack([example.image() for example in people[name][:count]]) for name in names])
    z_0 = base.encode_pixels(images.reshape(-1, *images.shape[2:])).unflatten(0, images.shape[:2])
    return LineUp(images, z_0), names


def rank(known: Scenario, line_up: LineUp, names: tuple[str, ...], *, effort: Effort, seed: int) -> dict[str, Any]:
    """By attack who comes first, ``SHOWN`` candidates with their scores; or, as ``failed``, why an
    attack came to nothing."""
    rows = ["lineup_likelihood:raw"]
    if known.get(PublicAdapters) is not None:
        rows = ["lineup_likelihood:calibrated", "read_identity:cosine"]
    found: dict[str, Any] = {"candidates": len(names), "pictures of each": line_up.z_0.shape[1], "ranked": {}, "failed": {}}
    for row in rows:
        guess = attacks.attempt(row, known.having(line_up), effort=effort, seed=seed)
        if not isinstance(guess, Guess) or guess.scores is None:
            found["failed"][row] = guess.cause if isinstance(guess, Failed) else str(guess)
            continue
        order = guess.scores.argsort(descending=True).tolist()[:SHOWN]
        found["ranked"][row] = [{"person": names[i], "score": float(guess.scores[i])} for i in order]
    return found
