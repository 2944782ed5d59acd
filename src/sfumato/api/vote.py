"""``vote``: a folder's noisy votes on a menu."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.api._common import OnNote, OnProgress, codec_of, no_note, no_progress
from sfumato.core.randomness import Noise
from sfumato.diffusion.base import DEFAULT, Codec
from sfumato.owner import vote as owners
from sfumato.owner.folder import read_folder
from sfumato.owner.picture_file import CROP, Crop, crop_of
from sfumato.owner.vote import Plan
from sfumato.records import menu as menus
from sfumato.records.ballot import Ballot


@dataclass(frozen=True, kw_only=True)
class Voted:
    """What a vote made, and what its owner should know.

    Attributes:
        out: the ballot's file, which may leave the machine.
        ballot: what is in it: noisy counts, and what was agreed.
        card: the privacy card, in lines.
        round: of the pool.
        voters, pictures: how many people (or pictures) voted, and with how many pictures. They stay
            on this machine.
        again: whether it is the ballot of an earlier run, written once more.
        skipped: files that were left out, and why.
        notes: what is easily overlooked. They are of the pictures, and stay on this machine.
    """

    out: Path
    ballot: Ballot
    card: tuple[str, ...]
    round: int
    voters: int
    pictures: int
    again: bool
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def vote(
    pictures: str | Path,
    menu: str | Path,
    out: str | Path,
    *,
    owner: str,
    epsilon: float = 1.0,
    rounds: int = 1,
    crop: Crop = CROP,
    base: str | Path | Codec = DEFAULT,
    allow_rerelease: bool = False,
    noise: Noise | None = None,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Voted:
    """Vote with a folder of private pictures for the pictures of a menu that they look like.

    Counts leave, with noise, and nothing else. Where the folder's table has a ``person`` column,
    each person's votes count for one together, and the guarantee is for a person. Run again after
    an interrupt the same ballot is written; a second one for the same round is refused.

    Args:
        pictures: a plain folder; ``images/``; or one with a table ``metadata.jsonl`` (.csv, .json).
        menu: the file that the server sent.
        out: where the ballot goes.
        owner: the name that signs the ballot, and travels with it.
        epsilon: of all rounds together, at delta 1e-5.
        rounds: how many ballots this pool gets in all.
        crop: of pictures that are no squares: ``center``, ``pad``, or ``none`` to refuse them.
        base: that the pool was started with, by name or as it was loaded.
        allow_rerelease: vote although these pictures voted in another pool; the ballots compose.
        noise: another source than the system's secure one: for tests, and the ballot says so.
        on_progress: told how far it is.
        on_note: told what a person should know.

    Raises:
        RecordError: a menu that is none, or of another base or network.
        PrivacyError: a second ballot for a round, or more than was agreed.
        UserError: too few voters for such noise, or persons that are named for some pictures only.
            Whatever is raised, no vote was spent.

    Examples:
        >>> voted = sfumato.vote(
        ...     "pictures", "pool/round-1/menu.safetensors", "me.ballot",
        ...     owner="me", epsilon=50, base=base,  # four pictures cannot carry a vote that means much
        ... )
        >>> voted.ballot.unit, len(voted.ballot.counts), voted.ballot.rounds
        ('picture', 2, 1)
    """
    codec, where = codec_of(base), Path(menu)
    plan, found = Plan(epsilon=float(epsilon), rounds=rounds), menus.read(where)
    menus.check_fit(found, codec, name=str(where))
    listed = read_folder(Path(pictures), size=codec.size, condition="canny", crop=crop_of(crop))
    for line in listed.notes:
        on_note(line)
    summary = owners.vote(
        listed, found, Path(out), owner=owner, codec=codec, plan=plan, allow_rerelease=allow_rerelease, noise=noise,
        on_picture=lambda done, total: on_progress("looking at pictures", done, total),
    )  # fmt: skip
    return Voted(
        out=Path(out),
        ballot=summary.ballot,
        card=tuple(summary.card),
        round=found.about.round,
        voters=summary.voters,
        pictures=summary.pictures,
        again=summary.again,
        skipped=tuple(summary.skipped),
        notes=tuple((*listed.notes, *summary.notes)),
    )
