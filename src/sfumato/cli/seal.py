"""``sfumato seal``: an owner's one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli._shared import CROP

if TYPE_CHECKING:
    from sfumato.diffusion.base import Codec
    from sfumato.owner.folder import Folder
    from sfumato.owner.seal import Summary
    from sfumato.records.record import SealSettings

PRIVACY = (
    "low, medium or high: steps that were measured on this base. Instead of --seal-step, --condition-step and --derive. "
    "[default: medium, where it was measured; elsewhere name the steps]"
)
SEAL_STEP = "Noise step of the pictures, 0-998; higher hides more. 'none': not sealed. Instead of --privacy."
CONDITION_STEP = "Noise step of the conditions, which leave beside the pictures. 'none': as they are. Without it none leaves."
TRIAL = (
    "Make records only to attack and to inspect: not counted as released, refused by train, kept private. "
    "They must not leave this machine. Without -o they go into SFUMATO_HOME."
)
LOUD = "TRIAL: these records must not leave this machine. Attack them, then seal without --trial."
CONDITION = "canny, scribble, or given (the folder brings its own). [default: given, where it brings one for each picture; else canny]"
DERIVE = "No condition leaves: the server finds conditions in pictures that it draws from the records."


def command(
    folder: Annotated[
        Path, typer.Argument(help="Your pictures: a plain folder, images/ + conditions/ + captions/, or metadata.jsonl (.csv, .json).")
    ],
    owner: Annotated[str, typer.Option(help="The name that signs the records. It travels with them.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the records go. All of it may leave your machine; of a --trial nothing.")
    ] = None,
    trial: Annotated[bool, typer.Option("--trial", help=TRIAL)] = False,
    privacy: Annotated[str | None, typer.Option(help=PRIVACY)] = None,
    seal_step: Annotated[str | None, typer.Option(help=SEAL_STEP)] = None,
    condition: Annotated[str | None, typer.Option(help=CONDITION)] = None,
    condition_step: Annotated[str | None, typer.Option(help=CONDITION_STEP)] = None,
    clip: Annotated[float | None, typer.Option(help="Bound on a latent's norm. Without it there is no formal guarantee.")] = None,
    condition_clip: Annotated[float | None, typer.Option(help="The same for the condition's latent.")] = None,
    derive: Annotated[bool, typer.Option("--derive", help=DERIVE)] = False,
    crop: Annotated[str, typer.Option(help=CROP)] = "center",
    bits: Annotated[int, typer.Option(help="16, or 8 for half the bytes; rounded after the noise.")] = 16,
    base: Annotated[str, typer.Option(help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")] = "tiny",
    allow_rerelease: Annotated[bool, typer.Option(help="Seal pictures again that were released before.")] = False,
    insecure_seed: Annotated[int | None, typer.Option(hidden=True, help="For tests: noise from a seed, which protects nothing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Seal a folder of private pictures into one-way records.

    Captions, file names and the noise never leave. Interrupted? Run it again: it goes on, with no second draw.
    """
    import time

    from sfumato.cli import _output

    started = time.monotonic()
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.core.errors import UserError
    from sfumato.core.memory import peak_bytes
    from sfumato.core.randomness import InsecureNoise
    from sfumato.diffusion.base import load_codec
    from sfumato.owner import domain, supplied
    from sfumato.owner.seal import seal
    from sfumato.owner.survey import survey

    if bits not in (8, 16):
        raise UserError(f"--bits {bits}", expected="16, or 8 for half the bytes", fix="give --bits 8 or --bits 16, or leave it out")
    cut = _output.crop_of(crop)
    codec = load_codec(base)
    asked = {"seal_step": seal_step, "condition_step": condition_step, "derive": derive}
    if out is None and not trial:
        raise UserError("no --out", expected="-o FOLDER: where the records go", fix="name a folder, or try with --trial first")
    how: dict[str, Any] = {"clip": clip, "condition_clip": condition_clip, "bits": bits}
    if condition is None:
        pictures = supplied.read(folder, size=codec.size, condition=None, crop=cut)
        level, settings = _settings(codec, privacy, asked, condition=pictures.condition, **how)
    else:  # what cannot be is said before a folder is read
        level, settings = _settings(codec, privacy, asked, condition=condition, **how)
        pictures = supplied.read(folder, size=codec.size, condition=condition, crop=cut)
    notes = [*pictures.notes, *survey(pictures).warnings(codec.size)]
    if condition_clip is not None and settings.condition_clip is None:
        notes.append("--condition-clip has nothing to clip: no condition leaves")
    distance = domain.look(pictures, codec)
    if out is None:
        out = _trial_folder(folder, settings, codec)
    for line in [LOUD] * trial + notes:
        _output.say(line)
    with _output.bar(f"sealing {owner}", len(pictures)) as advance:
        noise = None if insecure_seed is None else InsecureNoise(insecure_seed)
        summary = seal(
            pictures, out, owner=owner, codec=codec, settings=settings, allow_rerelease=allow_rerelease, trial=trial, noise=noise,
            on_picture=advance,
        )  # fmt: skip
    manifest = summary.manifest
    assert manifest is not None
    for line in summary.skipped:
        _output.say(f"left out: {line}")
    said = _measured(level, codec, distance)
    report = {
        "owner": owner,
        "trial": trial,
        "must_not_leave": LOUD if trial else "",
        "released_before": summary.earlier,
        "largest_person": summary.person,
        "level": level,
        "measured": said,
        "records": manifest.records,
        "sealed_now": summary.sealed,
        "resumed": summary.resumed,
        "duplicates": summary.duplicates,
        "skipped": summary.skipped,
        "notes": notes,
        "crop": crop,
        "cropped": summary.cropped if crop == "center" else 0,
        "padded": summary.cropped if crop == "pad" else 0,
        "conditions": {
            "condition": settings.condition,
            "leave": not settings.derived,
            "supplied": pictures.supplied,
            "supplied_used": pictures.supplied if _supplied(settings.condition) else 0,
        },
        "seal_step": settings.seal_step,
        "condition_step": settings.condition_step,
        "bytes_per_picture": manifest.bytes_per_picture,
        "privacy": manifest.privacy,
        "prompts_left": 0,
        "peak_bytes": peak_bytes(),
        "seconds": time.monotonic() - started,
        "out": str(out),
    }
    if as_json:
        _output.emit(report)
        return
    for line in (
        *_done(summary, settings, pictures, report), *said, *_statement(manifest.privacy, summary.person), *([LOUD] if trial else ())
    ):  # fmt: skip
        _output.say(line)


def _trial_folder(folder: Path, settings: SealSettings, codec: Codec) -> Path:
    """A private place for a trial of these pictures with these settings, the same each time."""
    from sfumato.core.artifact import sha256
    from sfumato.owner import identity

    said = sha256(repr((str(folder.resolve()), settings, codec.fingerprint)).encode())
    return identity.trials_folder() / f"{folder.resolve().name or 'pictures'}-{said[:10]}"


def _settings(
    codec: Codec,
    privacy: str | None,
    asked: dict[str, Any],
    *,
    condition: str,
    clip: float | None,
    condition_clip: float | None,
    bits: int,
) -> tuple[str | None, SealSettings]:
    """The level, if one decides, and the settings. Without a choice it is the level that was measured; where none was, a choice is needed.

    Raises:
        UserError: no choice on a base where nothing was measured, or half of one.
    """
    from dataclasses import replace

    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.records import presets
    from sfumato.records.record import SealSettings

    by_hand = any(value not in (None, False) for value in asked.values())
    if privacy is not None and by_hand:
        raise UserError("--privacy with steps or --derive", expected="one or the other: a level decides the steps")
    if not by_hand:
        level = privacy or presets.DEFAULT
        if _supplied(condition) and level in presets.known(codec.fingerprint, codec.latent_shape).get("levels", {}):
            raise _unused(level, condition)
        preset = presets.find(level, codec.fingerprint, codec.latent_shape, condition=condition)
        return level, replace(preset, clip=clip, condition_clip=None if preset.derived else condition_clip, bits=bits)
    if asked["seal_step"] is None:
        raise UserError(
            "no --seal-step",
            expected="the step of the pictures beside --condition-step or --derive",
            fix="give --seal-step, such as 900, or take --privacy alone",
            privacy="the step decides how much of a picture comes back: none is taken silently",
        )
    seal_step = _output.step_or_none(asked["seal_step"], "--seal-step")
    derived = asked["condition_step"] is None
    if derived and not asked["derive"] and (seal_step is None or _supplied(condition)):
        raise UserError(
            f"--seal-step {asked['seal_step']} --condition {condition} without --condition-step",
            expected="the step of the conditions: none can be found in such records, so they have to leave",
            fix="give --condition-step, or 'none' for conditions that leave as they are"
            + ("; or --condition canny, to leave the folder's own out" if _supplied(condition) else ""),
            privacy="a condition at a low step gives its edges away",
        )
    if asked["derive"] and not derived:
        raise UserError("--derive with --condition-step", expected="one or the other: a derived condition does not leave")
    return None, SealSettings(
        condition=condition,
        seal_step=seal_step,
        condition_step=None if derived else _output.step_or_none(asked["condition_step"], "--condition-step"),
        clip=clip,
        condition_clip=condition_clip,
        derived=derived,
        bits=bits,
    )


def _unused(level: str, condition: str) -> Exception:
    """Why a level cannot take the folder's own conditions, and both ways out."""
    from sfumato.core.errors import UserError

    return UserError(
        f"privacy {level!r} for condition {condition!r}: the folder brings its conditions, and at this level none leaves",
        expected="conditions that leave at a step of their own, or conditions that the server finds by itself",
        fix="--seal-step N --condition-step M lets yours leave, sealed; --condition canny seals at this level without them",
        privacy="a condition that leaves gives its edges away, and no level was measured with it: run sfumato attack before you upload",
    )


def _supplied(condition: str) -> bool:
    from sfumato.core import registry

    return bool(getattr(registry.get("conditions", condition), "SUPPLIED", False))


def _measured(level: str | None, codec: Codec, distance: Any) -> list[str]:
    """What is known of these steps on these pictures, and that the owner should try."""
    from sfumato.records import presets

    if level is None:
        said = ["steps chosen by hand: how much comes back was not measured. Run sfumato attack RECORDS --truth PICTURES before you upload"]
    else:
        said = [f"--privacy {level}: {line}" for line in presets.describe(level, codec.fingerprint, codec.latent_shape)]
    if level is not None and distance is None:
        said.append("whether your pictures are like those was not measured on this base, or none of them could be read")
    if distance is not None and distance.far:
        said.append(
            f"WARNING: these pictures are not like {distance.style}: by their latents {distance.beyond:.0%} of "
            f"{distance.pictures} that were looked at lie beyond where 95 % of such pictures lie. "
            "No figure that was measured there holds here: see what sfumato attack gets from them before you upload"
        )
    return said


def _done(summary: Summary, settings: SealSettings, pictures: Folder, report: dict[str, Any]) -> list[str]:
    """What left, in words."""
    said = [
        f"{report['records']} records in {report['out']}, {report['bytes_per_picture']:.0f} bytes a picture"
        + (f" ({summary.resumed} from an earlier run)" if summary.resumed else "")
        + (f"; {summary.duplicates} pictures were there twice and were sealed once" if summary.duplicates else "")
    ]
    if summary.earlier:
        said.append(f"{summary.earlier} of these pictures were released before: without --trial they are refused")
    change = "padded to a square" if pictures.crop == "pad" else "cropped to the middle square"
    said.append(f"{change}: {summary.cropped} of the {summary.sealed} pictures sealed now")
    used, brought = report["conditions"]["supplied_used"], pictures.supplied
    said.append(
        f"condition: {settings.condition}, "
        + (f"{used} supplied with the folder" if used else "found in the pictures" if not settings.derived else "found by the server")
        + (f". THE {brought} CONDITIONS OF THE FOLDER WERE NOT USED" if brought and not used else "" if used else "; none was supplied")
    )
    if settings.derived:
        which = f"no condition leaves; the server finds its own ({settings.condition}) in what it draws from the records"
    else:
        which = f"conditions ({settings.condition}) at step {settings.condition_step}"
    left = "nothing left this machine" if report["trial"] else "none left this machine"
    said.append(f"pictures at step {settings.seal_step}; {which}. Captions and file names: {left}.")
    if settings.seal_step is None or (settings.condition_step is None and not settings.derived):
        said.append("NOT SEALED: what is at step none leaves as it is; whoever has the base decodes it.")
    elif settings.derived:
        said.append("Whoever has the base can take part of the noise off again.")
    else:
        said.append("A condition at a low step gives its edges away, and whoever has the base can take part of the noise off again.")
    return said


def _statement(privacy: dict[str, Any], person: int | None) -> list[str]:
    from sfumato.records.privacy import card, describe

    return ["guarantee: " + describe(privacy), "privacy card\n" + "\n".join(f"  {line}" for line in card(privacy, person=person))]
