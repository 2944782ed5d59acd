"""``sfumato seal``: an owner's one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.records.defaults import CONDITION_STEP, SEAL_STEP

PRIVACY = "low, medium or high: steps that were measured on this base. Instead of --seal-step, --condition-step and --derive."


def command(
    folder: Annotated[Path, typer.Argument(help="Your pictures: a plain folder, images/ + conditions/ + captions/, or metadata.jsonl.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the records go. All of it may leave your machine.")],
    owner: Annotated[str, typer.Option(help="The name that signs the records. It travels with them.")],
    privacy: Annotated[str | None, typer.Option(help=PRIVACY)] = None,
    seal_step: Annotated[
        str | None, typer.Option(help=f"Noise step of the pictures, 0-998; higher hides more. 'none': not sealed. [default: {SEAL_STEP}]")
    ] = None,
    condition: Annotated[str, typer.Option(help="canny, scribble, or given (the folder brings its own).")] = "canny",
    condition_step: Annotated[
        str | None, typer.Option(help=f"Noise step of the conditions. 'none': the condition leaves as it is. [default: {CONDITION_STEP}]")
    ] = None,
    clip: Annotated[float | None, typer.Option(help="Bound on a latent's norm. Without it there is no formal guarantee.")] = None,
    condition_clip: Annotated[float | None, typer.Option(help="The same for the condition's latent.")] = None,
    derive: Annotated[
        bool, typer.Option("--derive", help="No condition leaves: the server finds conditions in pictures that it draws from the records.")
    ] = False,
    bits: Annotated[int, typer.Option(help="16, or 8 for half the bytes; rounded after the noise.")] = 16,
    base: Annotated[str, typer.Option(help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")] = "tiny",
    allow_rerelease: Annotated[bool, typer.Option(help="Seal pictures again that were released before.")] = False,
    insecure_seed: Annotated[int | None, typer.Option(hidden=True)] = None,
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
    from dataclasses import replace

    from sfumato.core.errors import UserError
    from sfumato.core.memory import peak_bytes
    from sfumato.core.randomness import InsecureNoise
    from sfumato.diffusion.base import load_codec
    from sfumato.owner.folder import read_folder
    from sfumato.owner.seal import seal
    from sfumato.records import presets
    from sfumato.records.privacy import card, describe
    from sfumato.records.record import SealSettings

    codec = load_codec(base)
    if privacy is not None:
        if seal_step is not None or condition_step is not None or derive:
            raise UserError("--privacy with steps or --derive", expected="one or the other: a level decides the steps")
        preset = presets.find(privacy, codec.fingerprint, codec.latent_shape, condition=condition)
        settings = replace(preset, clip=clip, condition_clip=condition_clip, bits=bits)
    else:
        settings = SealSettings(
            condition=condition,
            seal_step=_output.step_or_none(seal_step or str(SEAL_STEP), "--seal-step"),
            condition_step=None if derive else _output.step_or_none(condition_step or str(CONDITION_STEP), "--condition-step"),
            clip=clip,
            condition_clip=condition_clip,
            derived=derive,
            bits=bits,
        )
    pictures = read_folder(folder, size=codec.size, condition=condition)
    with _output.bar(f"sealing {owner}", len(pictures)) as advance:
        noise = None if insecure_seed is None else InsecureNoise(insecure_seed)
        summary = seal(
            pictures, out, owner=owner, codec=codec, settings=settings, allow_rerelease=allow_rerelease, noise=noise, on_picture=advance
        )
    manifest = summary.manifest
    assert manifest is not None
    report = {
        "owner": owner,
        "records": manifest.records,
        "sealed_now": summary.sealed,
        "resumed": summary.resumed,
        "duplicates": summary.duplicates,
        "skipped": summary.skipped,
        "bytes_per_picture": manifest.bytes_per_picture,
        "privacy": manifest.privacy,
        "prompts_left": 0,
        "peak_bytes": peak_bytes(),
        "seconds": time.monotonic() - started,
        "out": str(out),
    }
    for line in summary.skipped:
        _output.say(f"left out: {line}")
    if as_json:
        _output.emit(report)
        return
    _output.say(
        f"{manifest.records} records in {out}, {manifest.bytes_per_picture:.0f} bytes a picture"
        + (f" ({summary.resumed} from an earlier run)" if summary.resumed else "")
        + (f"; {summary.duplicates} pictures were there twice and were sealed once" if summary.duplicates else "")
    )
    conditions = "no conditions" if settings.derived else f"conditions at step {settings.condition_step}"
    _output.say(f"pictures at step {settings.seal_step}, {conditions}. Captions and file names: none left this machine.")
    if settings.derived:
        _output.say("Whoever has the base can take part of the noise off again.")
    elif settings.seal_step is None or settings.condition_step is None:
        _output.say("NOT SEALED: what is at step none leaves as it is; whoever has the base decodes it.")
    else:
        _output.say("A condition at a low step gives its edges away, and whoever has the base can take part of the noise off again.")
    if privacy is not None:
        _output.say(f"--privacy {privacy}: {presets.describe(privacy, codec.fingerprint, codec.latent_shape)}")
    _output.say("guarantee: " + describe(manifest.privacy))
    _output.say("privacy card\n" + "\n".join(f"  {line}" for line in card(manifest.privacy)))
