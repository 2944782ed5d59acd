"""``sfumato finetune``: a LoRA of somebody's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfumato.cli._choices import AdapterFormat, AdapterPrecision, Crop
from sfumato.cli._shared import CROP

if TYPE_CHECKING:
    from sfumato.cli.outputs.finetune import Finetune

UNET_TARGETS, TEXT_TARGETS = "to_q,to_v", "q_proj,v_proj"
TRIGGER, CLASS = "sks", "peep"  # of ``sfumato.finetune``: help is shown without it


def command(
    folder: Annotated[Path, typer.Argument(help="The pictures, a few of one person or thing.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the adapter goes, a .safetensors file.")],
    trigger: Annotated[
        str | None,
        typer.Option(help=f"A rare word that will stand for who is on the pictures. [default: of a `10_word name` folder; {TRIGGER}]"),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--class", help=f"What is on them, as a common word. [default: of such a folder; {CLASS}]")
    ] = None,
    captions: Annotated[bool, typer.Option("--captions", help="Add the folder's captions to the prompts.")] = False,
    crop: Annotated[Crop, typer.Option(help=CROP)] = Crop.CENTER,
    rank: Annotated[int, typer.Option(help="Rank of every matrix pair.")] = 16,
    alpha: Annotated[float | None, typer.Option(help="lora_alpha: the scale is alpha / rank; by default the rank.")] = None,
    targets: Annotated[str, typer.Option(help="Ends of names of the UNet's layers, with commas.")] = UNET_TARGETS,
    text_encoder: Annotated[bool, typer.Option(help="Train the text encoder's q_proj and v_proj, too.")] = True,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 200,
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = 8,
    lr: Annotated[float, typer.Option(help="Learning rate; SD 1.x wants about 1e-4.")] = 3e-3,
    prior: Annotated[int, typer.Option(help="Pictures of the class that the base draws, not to forget it; 0: none.")] = 8,
    format: Annotated[AdapterFormat, typer.Option(help="kohya is for A1111 and ComfyUI.")] = AdapterFormat.DIFFUSERS,
    precision: Annotated[AdapterPrecision, typer.Option(help="no is float32.")] = AdapterPrecision.NO,
    validate_every: Annotated[int, typer.Option(help="Steps between pictures in OUT.pictures; 0: none.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: none.")] = 50,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights. By default a secret one.")] = None,
    base: Annotated[str, typer.Option(help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")] = "tiny",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an adapter that is there, or another run's checkpoint.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fine-tune a LoRA on private pictures. Interrupted? Run it again: it goes on from its checkpoint.

    The file leaks the pictures: treat it as one of them.
    """
    import time

    from sfumato.cli import _output

    started = time.monotonic()
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.api import _subject
    from sfumato.api.finetune import FinetuneConfig, LoraSettings, finetune

    _subject.check_rate(lr)
    config = FinetuneConfig(
        steps=steps, batch=batch, lr=lr, precision=precision.value, checkpoint_every=checkpoint_every, validate_every=validate_every
    )
    layers, text = _names(targets), _names(TEXT_TARGETS) if text_encoder else ()
    with _output.bars() as progress:
        made = finetune(
            folder,
            out,
            trigger=trigger,
            kind=kind,
            captions=captions,
            crop=crop.value,
            lora=LoraSettings(rank=rank, lora_alpha=alpha, targets=layers, text_targets=text),
            config=config,
            prior=prior,
            format=format.value,
            seed=seed,
            base=base,
            overwrite=overwrite,
            on_progress=progress,
            on_note=_output.say,
        )
    from sfumato.cli.outputs.finetune import Finetune, NoGuarantee

    report = Finetune(
        out=str(out),
        format=format.value,
        pictures=made.pictures,
        crop=crop.value,
        trigger=made.trigger,
        class_pictures=prior,
        prompt=made.prompt,
        captioned=made.captioned,
        layers=made.layers,
        parameters=made.parameters,
        bytes=out.stat().st_size,
        rank=rank,
        lora_alpha=made.lora.alpha_of("unet."),
        steps=steps,
        loss=made.loss,
        privacy=NoGuarantee(),
        seconds=time.monotonic() - started,
    )
    if as_json:
        _output.emit(report)
    else:
        for line in _summary(report):
            _output.say(line)


def _names(said: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in said.split(",") if name.strip())


def _summary(report: Finetune) -> list[str]:
    use = "pipe.load_lora_weights(file)" if report.format == "diffusers" else "the lora folder of A1111 or ComfyUI"
    return [
        f"{report.out}: {report.layers} matrix pairs of rank {report.rank}, {report.parameters:,} numbers, "
        f"{report.bytes / 1e6:.2f} MB, for {use}",
        f"prompt       {report.prompt}; {report.captioned} of {report.pictures} pictures with a caption behind it",
        "in the file  weights, rank, alpha, layer names; no captions, folder names, times, counts or seed",
        f"beside it    {Path(report.out).with_suffix('.json').name}: base, prompt and settings; keep it unless you mean to share those",
        f"guarantee    none: the weights were made from {report.pictures} pictures and leak them. Whoever has the file can draw who is "
        "on them, with the prompt or without it. Share it as you would share the pictures",
    ]
