"""What an owner should know of a folder's pictures before one of them leaves: their headers are read, no pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from sfumato.core.errors import UserError
from sfumato.owner.folder import Folder
from sfumato.owner.listing import short
from sfumato.owner.picture_file import NOT_SQUARE, facts_of

SMALL = 8  # a picture with a shorter side than an eighth of what the base takes shows next to nothing


@dataclass(slots=True)
class Survey:
    """Names of pictures, by what is odd about them, in the folder's order."""

    oblong: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    animated: list[str] = field(default_factory=list)
    pictures: int = 0

    def warnings(self, size: int, *, alone: bool = True) -> list[str]:
        """A line on each thing that is easily overlooked; with ``alone`` that there is one picture only."""
        said = []
        if alone and self.pictures == 1:
            said.append("WARNING: one picture. A server learns nothing from it, and nobody else's record hides it: seal many, or none")
        if self.small:
            said.append(
                f"WARNING: {len(self.small):,} pictures have fewer than {_least(size)} pixels on a side ({short(self.small[0])}): they are "
                f"enlarged to {size} and show next to nothing. Take them out, or seal larger ones"
            )
        if self.animated:
            said.append(f"{len(self.animated):,} animations or pages ({short(self.animated[0])}): of each the first frame alone is read")
        return said


def survey(folder: Folder) -> Survey:
    """Look at every picture of ``folder``; what cannot be opened is reported when it is read.

    Raises:
        UserError: a picture that is no square, where nothing may be cropped.
    """
    found = Survey()
    for example in folder:
        try:
            facts = facts_of(example.path)
        except UserError:
            continue
        found.pictures += 1
        name = example.path.name
        found.oblong += [name] * (facts.width != facts.height)
        found.small += [name] * (min(facts.width, facts.height) < _least(folder.size))
        found.animated += [name] * facts.animated
    if folder.crop == "none" and found.oblong:
        raise UserError(
            f"{len(found.oblong):,} of {found.pictures:,} pictures are no squares, such as {short(found.oblong[0])}",
            expected="squares alone: --crop none",
            fix=NOT_SQUARE,
        )
    return found


def _least(size: int) -> int:
    return max(2, size // SMALL)
