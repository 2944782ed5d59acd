"""Whose pictures ``finetune`` is given: how they are cut, called and counted; and what looks wrong."""

from __future__ import annotations

from math import gcd
from pathlib import Path

from sfumato.api._common import OnNote
from sfumato.core.errors import UserError
from sfumato.owner.folder import Folder, read_folder
from sfumato.owner.picture_file import Crop
from sfumato.owner.survey import survey

TRIGGER, CLASS = "sks", "peep"
SANE_LR = 0.03  # ten times what the tiny base takes; beyond, weights are driven off
REPEATED = 10_000  # rows of latents at most, pictures times their repeats


def pictures(folder: Path, *, size: int, crop: Crop, on_note: OnNote) -> Folder:
    """The pictures of a folder, and what their owner should know of them."""
    found = read_folder(folder, size=size, condition="canny", crop=crop)  # which is not extracted
    seen = survey(found)
    for line in (*found.notes, *seen.warnings(size, alone=False)):
        on_note(line)
    if seen.oblong:
        change = "padded to a square" if crop == "pad" else "cropped to the middle square"
        on_note(f"{change}: {len(seen.oblong)} of {seen.pictures} pictures")
    return found


def called(found: Folder, trigger: str | None, kind: str | None, *, on_note: OnNote) -> tuple[str, str]:
    """Trigger and class: as they were named, else as a ``10_word name`` folder has them, else the usual ones.

    Raises:
        UserError: folders of several subjects, and no name for all of them.
    """
    said = list(dict.fromkeys(example.words for example in found if example.words))
    if len(said) > 1 and (trigger is None or kind is None):
        raise UserError(
            f"{found.path}: folders of {len(said)} subjects ({', '.join(said[:5])})",
            expected="one subject for a file",
            fix="fine-tune one folder at a time, or name --trigger and --class for all of them",
        )
    first, _, rest = said[0].partition(" ") if said else ("", "", "")
    if said and (trigger is None or kind is None):
        on_note(f"called by its folder: trigger {trigger or first!r}, class {kind or rest or CLASS!r}")
    return (trigger or first or TRIGGER).strip(), (kind or rest or CLASS).strip()


def check_rate(lr: float) -> None:
    """Raises UserError for a learning rate that cannot be."""
    if not 0 < lr <= 1:
        raise UserError(
            f"--lr {lr:g}",
            expected="a learning rate above 0 and up to 1: every step would throw the weights away",
            fix="leave it out for the tiny base; SD 1.x wants about 1e-4",
        )


def warnings(trigger: str, lr: float) -> list[str]:
    """What looks wrong of a trigger and a learning rate."""
    said = []
    if len(trigger.split()) > 1:
        said.append(
            f"WARNING: --trigger {trigger!r} is {len(trigger.split())} words: each of them alone will draw a part of it. Take one rare word"
        )
    if lr > SANE_LR:
        said.append(f"WARNING: --lr {lr:g} is above {SANE_LR:g}: weights are likely to be driven off. SD 1.x wants about 1e-4")
    return said


def rows(found: Folder) -> list[int]:
    """Rows of the examples, each as often as it counts beside the others.

    Raises:
        UserError: more of them than are kept.
    """
    common = gcd(*(example.repeats for example in found)) or 1
    times = [max(1, example.repeats // common) for example in found]
    if sum(times) > REPEATED:
        raise UserError(
            f"{found.path}: {sum(times):,} repeats", expected=f"at most {REPEATED:,}: pictures times the number before `_`",
            fix="make the numbers smaller: only how they stand to each other counts",
        )  # fmt: skip
    return [row for row, count in enumerate(times) for _ in range(count)]
