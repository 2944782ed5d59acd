"""``sfumato finetune``: a LoRA of somebody's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli import _subject
from sfumato.cli._shared import CROP

if TYPE_CHECKING:
    from sfumato.adapters.dreambooth import Task
    from sfumato.diffusion.base import Base
    from sfumato.owner.folder import Folder

UNET_TARGETS, TEXT_TARGETS = "to_q,to_v", "q_proj,v_proj"
FORMATS = ("diffusers", "kohya")
SAMPLE_STEPS = 25
PRIOR, PICTURES = 2**31 + 1, 2**31 + 2  # draws of a seed besides those of its steps


def command(
    folder: Annotated[Path, typer.Argument(help="The pictures, a few of one person or thing.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the adapter goes, a .safetensors file.")],
    trigger: Annotated[
        str | None,
        typer.Option(
            help=f"A rare word that will stand for who is on the pictures. [default: of a `10_word name` folder; {_subject.TRIGGER}]"
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--class", help=f"What is on them, as a common word. [default: of such a folder; {_subject.CLASS}]")
    ] = None,
    captions: Annotated[bool, typer.Option("--captions", help="Add the folder's captions to the prompts.")] = False,
    crop: Annotated[str, typer.Option(help=CROP)] = "center",
    rank: Annotated[int, typer.Option(help="Rank of every matrix pair.")] = 16,
    alpha: Annotated[float | None, typer.Option(help="lora_alpha: the scale is alpha / rank; by default the rank.")] = None,
    targets: Annotated[str, typer.Option(help="Ends of names of the UNet's layers, with commas.")] = UNET_TARGETS,
    text_encoder: Annotated[bool, typer.Option(help="Train the text encoder's q_proj and v_proj, too.")] = True,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 200,
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = 8,
    lr: Annotated[float, typer.Option(help="Learning rate; SD 1.x wants about 1e-4.")] = 3e-3,
    prior: Annotated[int, typer.Option(help="Pictures of the class that the base draws, not to forget it; 0: none.")] = 8,
    format: Annotated[str, typer.Option(help="diffusers, or kohya for A1111 and ComfyUI.")] = "diffusers",
    precision: Annotated[str, typer.Option(help="no or bf16.")] = "no",
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
    import secrets
    import time

    from sfumato.cli import _output

    started = time.monotonic()
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.adapters import formats
    from sfumato.adapters.dreambooth import FinetuneConfig
    from sfumato.adapters.lora import LoraSettings
    from sfumato.adapters.train_one import Progress, seed_of, train_one
    from sfumato.core import finished
    from sfumato.core.device import choose_device
    from sfumato.core.errors import UserError
    from sfumato.diffusion.base import load_base
    from sfumato.owner.picture_file import crop_of

    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}", expected="a file name that ends in .safetensors")
    if out.is_dir():
        raise UserError(f"--out {out}: a folder", expected="a file name that ends in .safetensors")
    if format not in FORMATS:
        raise UserError(f"--format {format!r}", expected=f"one of {', '.join(FORMATS)}")
    if (trigger is not None and not trigger.strip()) or (kind is not None and not kind.strip()):
        raise UserError(f"--trigger {trigger!r}, --class {kind!r}", expected="a word each")
    if not 0 < lr <= 1:
        raise UserError(
            f"--lr {lr:g}",
            expected="a learning rate above 0 and up to 1: every step would throw the weights away",
            fix="leave it out for the tiny base; SD 1.x wants about 1e-4",
        )
    cut = crop_of(crop)
    if prior < 0 or (seed is not None and seed < 0):
        raise UserError(f"--prior {prior}, --seed {seed}", expected="whole numbers from 0 up")
    settings = LoraSettings(rank=rank, lora_alpha=alpha, targets=_names(targets), text_targets=_names(TEXT_TARGETS) if text_encoder else ())
    config = FinetuneConfig(
        steps=steps, batch=batch, lr=lr, precision=precision, checkpoint_every=checkpoint_every, validate_every=validate_every
    )
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    made = [out, out.with_suffix(".json"), *([out.with_suffix(".pictures")] if validate_every and not checkpoint.exists() else [])]
    finished.keep(*made, overwrite=overwrite)
    if seed is None:
        known = seed_of(checkpoint)
        seed = secrets.randbits(63) if known is None else known

    loaded = load_base(base, device=choose_device())
    found = _subject.pictures(folder, size=loaded.size, crop=cut)
    trigger, kind = _subject.called(found, trigger, kind)
    for line in _subject.warnings(trigger, lr):
        _output.say(line)
    prompt, class_prompt = f"a photo of {trigger} {kind}", f"a photo of {kind}"
    task = _task(loaded, found, prompt, class_prompt, captions=captions, prior=prior, seed=seed)
    with _output.bar("fine-tuning", steps) as advance:

        def tell(progress: Progress) -> None:
            advance(progress.step, progress.steps, f"loss {progress.loss:.3f}")

        def show(step: int) -> None:
            _save_pictures(loaded, prompt, out.with_suffix(".pictures") / f"step-{step:05d}.png", seed=seed)

        trained = train_one(loaded, task, settings, config, checkpoint=checkpoint, overwrite=overwrite, on_step=tell, validate=show)
    formats.write(trained.adapter, out, format=format)
    checkpoint.unlink(missing_ok=True)
    _describe(loaded, out, settings=settings, config=config, prompt=prompt, format=format)
    report = {
        "out": str(out),
        "format": format,
        "pictures": len(found),
        "crop": crop,
        "trigger": trigger,
        "class_pictures": prior,
        "prompt": prompt,
        "captioned": sum(bool(example.caption) for example in found) if captions else 0,
        "layers": len(trained.adapter.factors),
        "parameters": trained.adapter.parameters,
        "bytes": out.stat().st_size,
        "rank": rank,
        "lora_alpha": settings.alpha_of("unet."),
        "steps": steps,
        "loss": sum(trained.losses[-20:]) / max(1, len(trained.losses[-20:])),
        "privacy": {"guarantee": "none"},
        "seconds": time.monotonic() - started,
    }
    if as_json:
        _output.emit(report)
    else:
        for line in _summary(report):
            _output.say(line)


def _names(said: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in said.split(",") if name.strip())


def _task(base: Base, found: Folder, prompt: str, class_prompt: str, *, captions: bool, prior: int, seed: int) -> Task:
    """Read the pictures, each as often as its folder repeats it, and let the base draw those of the class."""
    import numpy as np

    from sfumato.adapters.dreambooth import Task, class_latents
    from sfumato.cli import _output
    from sfumato.core.randomness import generator

    examples = found.examples
    words = [example.caption if captions else "" for example in examples]
    if captions:
        _check_captions(found, words)
    rows = _subject.rows(found)
    latents = base.encode_pixels(np.stack([example.image() for example in examples]))[rows]
    prompts = tuple(f"{prompt}, {words[row]}" if words[row] else prompt for row in rows)
    of_class = None
    if prior:
        with _output.bar("drawing the class", SAMPLE_STEPS * -(-prior // 16)) as advance:
            done = iter(range(1, 2**31))
            of_class = class_latents(
                base, class_prompt, prior, generator=generator(seed, PRIOR), on_step=lambda: advance(next(done), note="")
            )
    return Task(latents=latents, prompts=prompts, seed=seed, class_latents=of_class, class_prompt=class_prompt)


def _check_captions(folder: Folder, words: list[str]) -> None:
    """Refuse ``--captions`` where there are none, and say where some are missing."""
    from sfumato.cli import _output
    from sfumato.core.errors import UserError

    missing = words.count("")
    if missing == len(words):
        columns = f" (its table has {', '.join(folder.columns)})" if folder.columns else ""
        raise UserError(
            f"--captions, and no caption in {folder.path}{columns}",
            expected="`text` or `caption` in metadata.jsonl, captions/NAME.txt beside images/, or NAME.txt or NAME.caption beside NAME.png",
            fix="name them so, or leave --captions out",
        )
    if missing:
        _output.say(f"{missing} of {len(words)} pictures have no caption: they are trained under the prompt alone")


def _save_pictures(base: Base, prompt: str, path: Path, *, seed: int, count: int = 4) -> None:
    """A row of what the adapter draws for its prompt."""
    import io

    import numpy as np
    from PIL import Image

    from sfumato.core.artifact import write_atomic
    from sfumato.core.randomness import generator
    from sfumato.diffusion.sampling import sample

    pixels = base.decode_pixels(sample(base, [prompt] * count, generator=generator(seed, PICTURES), steps=SAMPLE_STEPS))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(pixels), axis=1)).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue(), private=True)


def _describe(base: Base, out: Path, *, settings: Any, config: Any, prompt: str, format: str) -> None:
    """The facts beside the file. No seed, which gives the first weights away; nothing of the folder, not even how many pictures."""
    from dataclasses import asdict

    from sfumato._version import __version__
    from sfumato.core.artifact import write_json

    facts = {
        "kind": "sfumato-lora",
        "schema": 1,
        "version": __version__,
        "format": format,
        "base": {"name": base.public_name, "local": base.is_local, "unet": base.unet_fingerprint},
        "prompt": prompt,
        "lora": asdict(settings),
        "train": config.identity(),
        "guarantee": "none",
    }
    write_json(out.with_suffix(".json"), facts)


def _summary(report: dict[str, Any]) -> list[str]:
    use = "pipe.load_lora_weights(file)" if report["format"] == "diffusers" else "the lora folder of A1111 or ComfyUI"
    return [
        f"{report['out']}: {report['layers']} matrix pairs of rank {report['rank']}, {report['parameters']:,} numbers, "
        f"{report['bytes'] / 1e6:.2f} MB, for {use}",
        f"prompt       {report['prompt']}; {report['captioned']} of {report['pictures']} pictures with a caption behind it",
        "in the file  weights, rank, alpha, layer names; no captions, folder names, times, counts or seed",
        f"beside it    {Path(report['out']).with_suffix('.json').name}: base, prompt and settings; keep it unless you mean to share those",
        f"guarantee    none: the weights were made from {report['pictures']} pictures and leak them. Whoever has the file can draw who is "
        "on them, with the prompt or without it. Share it as you would share the pictures",
    ]
