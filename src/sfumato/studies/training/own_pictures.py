"""Somebody's own folders in a comparison: some pictures are kept aside to judge by, the others are
the owners'."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sfumato.core.errors import UserError
from sfumato.core.randomness import evenly, generator
from sfumato.owner.folder import read_folder
from sfumato.pictures.store import PictureSet
from sfumato.studies.training import conditioned

LEAST = 10  # pictures of a folder
SHARE = 5  # one picture in so many is kept aside


@dataclass(frozen=True)
class Own:
    """Pictures by owner, those kept aside from all of them, SHA-256 of all that was read, and what
    there is to say of the folders."""

    owners: dict[str, PictureSet]
    aside: PictureSet
    digest: str
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many pictures the owners have."""
        return sum(len(pictures.images) for pictures in self.owners.values())


def check_place(out: Path, folders: tuple[Path, ...]) -> None:
    """Refuse an ``out`` in a folder of pictures or around it: what is made would be sealed with
    them the next time."""
    where = out.resolve()
    for folder in folders:
        there = folder.resolve()
        if where.is_relative_to(there) or there.is_relative_to(where):
            raise UserError(
                f"--out {out}: in {folder}, or around it",
                expected="another folder, private to you",
                privacy="a comparison keeps your pictures and what was made of them in it",
            )


def read(folders: tuple[Path, ...], *, size: int, condition: str, pictures: int, aside: int, seed: int) -> Own:
    """Read every folder; a picture that is there twice counts once.

    Args:
        folders: one an owner; captions are optional.
        size: side of the pictures, in pixels.
        condition: of the comparison. An extractor's is found in every picture, and conditions that
            the folders bring are not used; ``given`` takes these, and the sets that are returned
            hold them.
        pictures: of each owner at most; which, is drawn.
        aside: pictures kept aside at most, a fifth of each folder's. Nobody of a ``person`` column
            is on both sides.
        seed: of the draws.

    Raises:
        UserError: a folder without enough pictures, or without the conditions that it should bring.
    """
    given = conditioned.supplied(condition)
    owners: dict[str, PictureSet] = {}
    kept: list[Row] = []
    seen, drawn, notes = set[bytes](), list[bytes](), list[str]()
    for number, folder in enumerate(folders):
        found = read_folder(folder, size=size, condition=condition)
        notes += found.notes
        if found.supplied and not given:
            notes.append(
                f"{folder}: its {found.supplied} conditions are not used; {condition} is extracted from every picture "
                "(--condition given takes them)"
            )
        rows: list[Row] = []
        for example in found:
            try:
                image, own = example.image(), example.condition()
            except UserError as error:
                notes.append(f"left out: {error}")
                continue
            digest = hashlib.sha256(image.tobytes()).digest()
            if digest not in seen:
                seen.add(digest)
                drawn += [] if own is None else [hashlib.sha256(digest + own.tobytes()).digest()]
                rows.append(Row(image, example.caption, example.person or digest.hex(), own))
        if len(rows) < LEAST:
            raise UserError(f"{folder}: {len(rows)} different pictures", expected=f"at least {LEAST} in each folder")
        mine, others = _parted(rows, min(len(rows) // SHARE, -(-aside // len(folders))), seed=seed + number)
        kept += [row._replace(person="") for row in others]
        owners[f"owner-{number + 1}"] = _set(mine[:pictures])
    if given:
        notes.append(f"conditions are the folders' own: what is made under one is judged by the edges ({conditioned.JUDGE}) of its picture")
    whole = hashlib.sha256(b"".join(sorted([*seen, *drawn]))).hexdigest()
    return Own(owners, _set(kept[:aside]), whole, tuple(notes))


class Row(NamedTuple):
    """A picture, its caption, who is on it (or a name of its own), and the condition that came with
    it."""

    image: np.ndarray
    caption: str
    person: str
    condition: np.ndarray | None


def _parted(rows: list[Row], aside: int, *, seed: int) -> tuple[list[Row], list[Row]]:
    """The owner's rows and those kept aside, in a drawn order: whole people, until there are
    enough."""
    order = [rows[i] for i in evenly(len(rows), len(rows), generator(seed, 17)).tolist()]
    people: dict[str, list[Row]] = {}
    for row in order:
        people.setdefault(row.person, []).append(row)
    if len(people) < 2:
        raise UserError("one person on all pictures of a folder", expected="somebody else to judge by", fix="leave the person column out")
    kept: set[str] = set()
    taken = 0
    for person, own in people.items():
        if taken >= aside or len(kept) + 1 == len(people):
            break
        kept.add(person)
        taken += len(own)
    return [row for row in order if row.person not in kept], [row for row in order if row.person in kept]


def _set(rows: list[Row]) -> PictureSet:
    conditions = [row.condition for row in rows if row.condition is not None]
    return PictureSet(
        images=np.stack([row.image for row in rows]), captions=[row.caption for row in rows], attributes=[{} for _ in rows],
        identities=[row.person for row in rows], conditions=np.stack(conditions) if len(conditions) == len(rows) else None,
    )  # fmt: skip
