"""Which picture each record is of, as the private ledger of this machine has it: no noise is too much for that.

A release lies in its folder in a secret order. The ledger names pictures in that order, by a key that never leaves, and is on the disk
before a shard gets its name; so the owner can tell at every level, after a kill, too, and nobody else can. It is for audits: whoever
attacks records is never given it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.core.errors import UserError
from sfumato.owner import keys, release_folder
from sfumato.owner.picture_file import CROP, Crop
from sfumato.owner.release_ledger import ReleaseLedger


@dataclass(frozen=True, eq=False)
class Named:
    """Records of one release by the keyed names of their pictures and files, in the order in which they lie in its shards."""

    ledger: ReleaseLedger
    pictures: tuple[str, ...]
    files: tuple[str, ...]

    def name(self, image: np.ndarray) -> str:
        """The keyed name of a picture, uint8 ``(H, W, 3)`` as it goes into the VAE."""
        return self.ledger.name(image)

    def whose(self, names: Sequence[str], paths: Sequence[Path]) -> np.ndarray:
        """Of each record the place of its picture, int64 ``(N,)``; -1 where it is not there.

        Args:
            names: of the pictures that may be theirs.
            paths: their files, which are read only where a picture is not known by its pixels: another decoder may differ in them.
        """
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        found = np.array([places.get(name, -1) for name in self.pictures], np.int64)
        if (found < 0).any():
            files = {self.ledger.file_name(path): place for place, path in enumerate(paths)}
            missing = np.flatnonzero(found < 0)
            found[missing] = [files.get(self.files[record], -1) for record in missing]
        return found


def named(release: str, digests: Sequence[str], *, store: Path | None = None) -> Named | None:
    """What the ledger says of the shards ``digests``, one after another; None where it does not hold every one of them.

    Nothing is written, and a seal that is running is not waited for.

    Raises:
        UserError: a ledger that is damaged.
    """
    place = keys.existing_ledger(store)
    if place is None or not digests:
        return None
    for trials in (False, True):
        ledger = ReleaseLedger(*place, trials=trials, look=True)
        entries = {entry.sha256: entry for entry in ledger.of_release(release)}
        if all(digest in entries for digest in digests):
            held = [entries[digest] for digest in digests]
            pictures, files = (tuple(name for entry in held for name in getattr(entry, what)) for what in ("pictures", "files"))
            return Named(ledger, pictures, files)
    return None


def crop_of(release: str, asked: Crop | None = None, *, store: Path | None = None) -> Crop:
    """How the pictures of a release were made square: as this machine keeps it; else as ``asked``, or by the middle square.

    Raises:
        UserError: ``asked`` is not what the release was sealed with.
    """
    place = keys.existing_ledger(store)
    kept = None if place is None else release_folder.crop_of(release, place[0])
    if kept is not None and asked not in (None, kept):
        raise UserError(
            f"--crop {asked}: these records were sealed with --crop {kept}",
            expected="the pictures as they were sealed",
            fix=f"leave --crop out, or give --crop {kept}",
        )
    return kept or asked or CROP
