"""Which condition a folder is read with where its owner names none: its own, where it brings one for every picture.

What is half supplied is not guessed at: a condition that an owner made is not replaced by another in silence.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.core.errors import UserError
from sfumato.owner import listing
from sfumato.owner.folder import Folder, read_folder
from sfumato.owner.picture_file import CROP, Crop
from sfumato.owner.table import CONDITION

EXTRACTED, GIVEN = "canny", "given"


def read(folder: Path, *, size: int, condition: str | None, crop: Crop = CROP) -> Folder:
    """``read_folder`` with ``condition``; without one with the folder's own conditions, or with Canny's where it brings none.

    Raises:
        UserError: as ``read_folder``; or no condition is named, and the folder brings some, but not one for each picture.
    """
    listed = read_folder(folder, size=size, condition=condition or EXTRACTED, crop=crop)
    if condition is not None:
        return listed
    if not listed.supplied:
        _refuse_unpaired(listed)
        return listed
    if listed.supplied < len(listed):
        raise UserError(
            f"{folder}: {listed.supplied:,} conditions for {len(listed):,} pictures",
            expected=f"one of its own for each picture (`{CONDITION}`, or a file of its name in conditions/), or none",
            fix="supply the others; or name what all are sealed with: --condition canny leaves the supplied ones out",
            privacy="a condition that you did not choose shows something else of the picture",
        )
    return read_folder(folder, size=size, condition=GIVEN, crop=crop)


def _refuse_unpaired(listed: Folder) -> None:
    """Refuse a ``conditions/`` with pictures of which none belongs to a picture that is read."""
    where = listed.path / "conditions"
    if not where.is_dir() or not listing.scan(listed.path, where).pictures:
        return
    raise UserError(
        f"{where}: conditions, and none of them is of a picture that is read",
        expected=f"conditions/ beside images/ with files of the same names, or `{CONDITION}` in the table",
        fix="arrange them so and run it again; or name the condition: --condition canny leaves that folder out",
        privacy="a condition that you did not choose shows something else of the picture",
    )
