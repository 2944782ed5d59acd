"""``seal``: an owner's folder of pictures into one-way records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.api import _level
from sfumato.api._common import OnNote, OnProgress, codec_of, no_note, no_progress
from sfumato.api._level import Asked, Step
from sfumato.core.artifact import sha256
from sfumato.core.errors import UserError
from sfumato.core.randomness import Noise
from sfumato.diffusion.base import DEFAULT, Codec
from sfumato.owner import domain, keys, supplied
from sfumato.owner import seal as owners
from sfumato.owner.folder import Folder
from sfumato.owner.picture_file import CROP, Crop, crop_of
from sfumato.owner.survey import survey
from sfumato.records.manifest import Manifest
from sfumato.records.record import SealSettings

MUST_NOT_LEAVE = "TRIAL: these records must not leave this machine. Attack them, then seal without --trial."


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What a seal made, and what its owner should know.

    Attributes:
        out: the folder of records. All of it may leave the machine; of a trial nothing.
        manifest: what was signed: owner, settings, shards and guarantee.
        trial: whether they were made only to attack and to inspect.
        level: the level of privacy that decided the steps; None where the steps were chosen.
        settings: the steps, clips and condition.
        crop: what became of pictures that are no squares.
        sealed: pictures that this run sealed.
        resumed: records of an earlier run that was interrupted.
        duplicates: pictures that were there twice, and were sealed once.
        changed: pictures that were cropped or padded, of those that this run sealed.
        released_before: in a trial, pictures that other releases gave away.
        largest_person: how many pictures the person with most has; None where nobody is named. It
            stays on this machine.
        supplied: conditions that the folder brought.
        skipped: files that were left out, and why.
        notes: what is easily overlooked in the folder.
        measured: what is known of these steps on such pictures.
    """

    out: Path
    manifest: Manifest
    trial: bool
    level: str | None
    settings: SealSettings
    crop: Crop
    sealed: int
    resumed: int
    duplicates: int
    changed: int
    released_before: int
    largest_person: int | None
    supplied: int
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    measured: tuple[str, ...]

    @property
    def records(self) -> int:
        """How many records there are."""
        return self.manifest.records

    @property
    def supplied_used(self) -> int:
        """How many of the folder's own conditions were used: all or none."""
        return self.supplied if _level.supplied(self.settings.condition) else 0


def seal(
    pictures: str | Path,
    out: str | Path | None = None,
    *,
    owner: str,
    privacy: str | None = None,
    seal_step: Step = None,
    condition: str | None = None,
    condition_step: Step = None,
    derive: bool = False,
    clip: float | None = None,
    condition_clip: float | None = None,
    bits: int = 16,
    crop: Crop = CROP,
    base: str | Path | Codec = DEFAULT,
    trial: bool = False,
    allow_rerelease: bool = False,
    noise: Noise | None = None,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Sealed:
    """Seal a folder of private pictures into one-way records.

    Run again after an interrupt it goes on, with no second draw of noise. Captions, file names and
    the noise never leave. A level of privacy decides the steps where it was measured on the base;
    elsewhere they have to be named.

    Args:
        pictures: a plain folder; ``images/``, ``conditions/`` and ``captions/``; or one with a
            table ``metadata.jsonl`` (.csv, .json).
        out: where the records go; only a trial needs none.
        owner: the name that signs the records, and travels with them.
        privacy: ``low``, ``medium`` or ``high``; by default ``medium``, where no step is named.
        seal_step: the noise step of the pictures, 0 to 998, in place of a level; "none" leaves them
            unsealed.
        condition: ``canny``, ``scribble``, or ``given`` for the folder's own; None for the folder's
            own where it brings one for each picture.
        condition_step: the noise step of the conditions, which then leave, too; "none" as they are.
            None: no condition leaves.
        derive: say that no condition leaves.
        clip: bound on the norm of a picture's latent; without it there is no formal guarantee.
        condition_clip: the same of a condition's.
        bits: of a number in a record, 16 or 8.
        crop: of pictures that are no squares: ``center``, ``pad``, or ``none`` to refuse them.
        base: by name or as it was loaded.
        trial: make records only to attack and to inspect; they are not counted as a release, and
            must not leave.
        allow_rerelease: seal pictures again that were released before.
        noise: another source than the system's secure one: for tests, and the manifest says so.
        on_progress: told how far it is.
        on_note: told what a person should know before the first picture is sealed.

    Raises:
        PrivacyError: a picture was released before.
        UserError: no choice of steps where one is needed, nothing usable in the folder, or another
            release in ``out``.

    Examples:
        >>> sealed = sfumato.seal("pictures", "records", owner="me", seal_step=900, base=base)
        >>> sealed.records, sealed.settings.derived, sealed.manifest.privacy["guarantee"]
        (4, True, 'none')
    """
    folder = Path(pictures)
    if bits not in (8, 16):
        raise UserError(f"--bits {bits}", expected="16, or 8 for half the bytes", fix="give --bits 8 or --bits 16, or leave it out")
    cut, codec = crop_of(crop), codec_of(base)
    if out is None and not trial:
        raise UserError("no --out", expected="-o FOLDER: where the records go", fix="name a folder, or try with --trial first")
    asked = Asked(
        privacy=privacy, seal_step=seal_step, condition_step=condition_step, derive=derive, clip=clip, condition_clip=condition_clip,
        bits=bits,
    )  # fmt: skip
    if condition is None:
        listed = supplied.read(folder, size=codec.size, condition=None, crop=cut)
        level, settings = _level.choose(asked, codec, condition=listed.condition)
    else:  # what cannot be is said before a folder is read
        level, settings = _level.choose(asked, codec, condition=condition)
        listed = supplied.read(folder, size=codec.size, condition=condition, crop=cut)
    notes = [*listed.notes, *survey(listed).warnings(codec.size)]
    if condition_clip is not None and settings.condition_clip is None:
        notes.append("--condition-clip has nothing to clip: no condition leaves")
    distance = domain.look(listed, codec)
    where = _trial_folder(folder, settings, codec, cut) if out is None else Path(out)
    for line in [MUST_NOT_LEAVE] * trial + notes:
        on_note(line)
    summary = owners.seal(
        listed, where, owner=owner, codec=codec, settings=settings, allow_rerelease=allow_rerelease, trial=trial, noise=noise,
        on_picture=lambda done, total: on_progress(f"sealing {owner}", done, total),
    )  # fmt: skip
    return _result(summary, listed, where, level, settings, notes, _level.measured(level, codec, distance), trial=trial)


def _result(
    summary: owners.Summary, listed: Folder, out: Path, level: str | None, settings: SealSettings, notes: list[str], measured: list[str],
    *, trial: bool,
) -> Sealed:  # fmt: skip
    assert summary.manifest is not None
    return Sealed(
        out=out,
        manifest=summary.manifest,
        trial=trial,
        level=level,
        settings=settings,
        crop=listed.crop,
        sealed=summary.sealed,
        resumed=summary.resumed,
        duplicates=summary.duplicates,
        changed=summary.cropped,
        released_before=summary.earlier,
        largest_person=summary.person,
        supplied=listed.supplied,
        skipped=tuple(summary.skipped),
        notes=tuple(notes),
        measured=tuple(measured),
    )


def _trial_folder(folder: Path, settings: SealSettings, codec: Codec, crop: Crop) -> Path:
    """A private place for a trial of these pictures with these settings, the same each time."""
    more = () if crop == CROP else (crop,)
    said = sha256(repr((str(folder.resolve()), settings, codec.fingerprint, *more)).encode())
    return keys.trials_folder() / f"{folder.resolve().name or 'pictures'}-{said[:10]}"
