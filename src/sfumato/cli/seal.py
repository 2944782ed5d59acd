"""``sfumato seal``: an owner's one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli._choices import Crop, Privacy
from sfumato.cli._shared import CROP

if TYPE_CHECKING:
    from sfumato.api._level import Step
    from sfumato.api.seal import Sealed

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
    privacy: Annotated[Privacy | None, typer.Option(help=PRIVACY)] = None,
    seal_step: Annotated[str | None, typer.Option(help=SEAL_STEP)] = None,
    condition: Annotated[str | None, typer.Option(help=CONDITION)] = None,
    condition_step: Annotated[str | None, typer.Option(help=CONDITION_STEP)] = None,
    clip: Annotated[float | None, typer.Option(help="Bound on a latent's norm. Without it there is no formal guarantee.")] = None,
    condition_clip: Annotated[float | None, typer.Option(help="The same for the condition's latent.")] = None,
    derive: Annotated[bool, typer.Option("--derive", help=DERIVE)] = False,
    crop: Annotated[Crop, typer.Option(help=CROP)] = Crop.CENTER,
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
    from sfumato.api.seal import MUST_NOT_LEAVE, seal
    from sfumato.core.memory import peak_bytes
    from sfumato.core.randomness import InsecureNoise

    with _output.bars() as progress:
        sealed = seal(
            folder,
            out,
            owner=owner,
            privacy=privacy.value if privacy else None,
            seal_step=_step(seal_step, "--seal-step"),
            condition=condition,
            condition_step=_step(condition_step, "--condition-step"),
            derive=derive,
            clip=clip,
            condition_clip=condition_clip,
            bits=bits,
            crop=crop.value,
            base=base,
            trial=trial,
            allow_rerelease=allow_rerelease,
            noise=None if insecure_seed is None else InsecureNoise(insecure_seed),
            on_progress=progress,
            on_note=_output.say,
        )
    manifest, settings = sealed.manifest, sealed.settings
    for line in sealed.skipped:
        _output.say(f"left out: {line}")
    if as_json:
        from sfumato.cli.outputs.seal import ConditionsSealed, Seal

        report = Seal(
            owner=owner,
            trial=trial,
            must_not_leave=MUST_NOT_LEAVE if trial else "",
            released_before=sealed.released_before,
            largest_person=sealed.largest_person,
            level=sealed.level,
            measured=sealed.measured,
            records=manifest.records,
            sealed_now=sealed.sealed,
            resumed=sealed.resumed,
            duplicates=sealed.duplicates,
            skipped=sealed.skipped,
            notes=sealed.notes,
            crop=crop.value,
            cropped=sealed.changed if crop is Crop.CENTER else 0,
            padded=sealed.changed if crop is Crop.PAD else 0,
            conditions=ConditionsSealed(
                condition=settings.condition,
                leave=not settings.derived,
                supplied=sealed.supplied,
                supplied_used=sealed.supplied_used,
            ),
            seal_step=settings.seal_step,
            condition_step=settings.condition_step,
            bytes_per_picture=manifest.bytes_per_picture,
            privacy=manifest.privacy,
            prompts_left=0,
            peak_bytes=peak_bytes(),
            seconds=time.monotonic() - started,
            out=str(sealed.out),
        )
        _output.emit(report)
        return
    statement = _statement(manifest.privacy, sealed.largest_person)
    for line in (*_done(sealed), *sealed.measured, *statement, *([MUST_NOT_LEAVE] if trial else ())):
        _output.say(line)


def _step(value: str | None, option: str) -> Step:
    """Read a step that may be left out."""
    from sfumato.cli import _output

    if value is None:
        return None
    step = _output.step_or_none(value, option)
    return "none" if step is None else step


def _done(sealed: Sealed) -> list[str]:
    """What left, in words."""
    settings = sealed.settings
    said = [
        f"{sealed.records} records in {sealed.out}, {sealed.manifest.bytes_per_picture:.0f} bytes a picture"
        + (f" ({sealed.resumed} from an earlier run)" if sealed.resumed else "")
        + (f"; {sealed.duplicates} pictures were there twice and were sealed once" if sealed.duplicates else "")
    ]
    if sealed.released_before:
        said.append(f"{sealed.released_before} of these pictures were released before: without --trial they are refused")
    change = "padded to a square" if sealed.crop == "pad" else "cropped to the middle square"
    said.append(f"{change}: {sealed.changed} of the {sealed.sealed} pictures sealed now")
    used, brought = sealed.supplied_used, sealed.supplied
    said.append(
        f"condition: {settings.condition}, "
        + (f"{used} supplied with the folder" if used else "found in the pictures" if not settings.derived else "found by the server")
        + (f". THE {brought} CONDITIONS OF THE FOLDER WERE NOT USED" if brought and not used else "" if used else "; none was supplied")
    )
    if settings.derived:
        which = f"no condition leaves; the server finds its own ({settings.condition}) in what it draws from the records"
    else:
        which = f"conditions ({settings.condition}) at step {settings.condition_step}"
    left = "nothing left this machine" if sealed.trial else "none left this machine"
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
