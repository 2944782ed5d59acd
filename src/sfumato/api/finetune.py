"""``finetune``: a LoRA of somebody's pictures."""

from __future__ import annotations

import io
import secrets
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from sfumato._version import __version__
from sfumato.adapters import formats
from sfumato.adapters import train_one as training
from sfumato.adapters.dreambooth import FinetuneConfig as FinetuneConfig
from sfumato.adapters.dreambooth import Task, class_latents
from sfumato.adapters.lora import LoraSettings as LoraSettings
from sfumato.api import _subject
from sfumato.api._common import OnNote, OnProgress, base_of, no_note, no_progress
from sfumato.core import finished
from sfumato.core.artifact import write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress
from sfumato.core.randomness import generator
from sfumato.diffusion.base import DEFAULT, Base
from sfumato.diffusion.sampling import sample
from sfumato.owner.folder import Folder
from sfumato.owner.picture_file import CROP, Crop, crop_of

Format = Literal["diffusers", "kohya"]
SAMPLE_STEPS = 25
PRIOR, PICTURES = 2**31 + 1, 2**31 + 2  # draws of a seed besides those of its steps
LAST = 20  # steps of which a loss is told


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """An adapter's file, and how it was made. There is no guarantee: the file leaks the pictures.

    Attributes:
        out: the ``.safetensors`` file.
        facts: the file beside it: base, prompt and settings.
        format: ``diffusers`` or ``kohya``.
        pictures: how many pictures it was made from.
        captioned: how many of them had a caption that was read.
        trigger: the word that stands for who is on the pictures.
        prompt: what draws them.
        class_pictures: pictures of the class that were drawn beside.
        layers: matrix pairs in the file.
        parameters: numbers in the file.
        lora: where the adapter sits, and how large it is.
        config: how it was trained.
        losses: of every step that this run made.
    """

    out: Path
    facts: Path
    format: Format
    pictures: int
    captioned: int
    trigger: str
    prompt: str
    class_pictures: int
    layers: int
    parameters: int
    lora: LoraSettings
    config: FinetuneConfig
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The mean of the last losses."""
        last = self.losses[-LAST:]
        return sum(last) / max(1, len(last))


def finetune(
    pictures: str | Path,
    out: str | Path,
    *,
    trigger: str | None = None,
    kind: str | None = None,
    captions: bool = False,
    crop: Crop = CROP,
    lora: LoraSettings | None = None,
    config: FinetuneConfig | None = None,
    prior: int = 8,
    format: Format = "diffusers",
    seed: int | None = None,
    base: str | Path | Base = DEFAULT,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Finetuned:
    """Fine-tune a LoRA on private pictures. The file leaks them: treat it as one of them.

    Run again after an interrupt it goes on from its checkpoint.

    Args:
        pictures: a folder with a few pictures of one person or thing.
        out: where the adapter goes, a ``.safetensors`` file.
        trigger: a rare word for who is on them; None for that of a ``10_word name`` folder, or sks.
        kind: what is on them, as a common word; None for that of such a folder, or peep.
        captions: add the folder's captions to the prompts.
        crop: of pictures that are no squares: ``center``, ``pad``, or ``none`` to refuse them.
        lora: rank, scale and layers; None for the usual.
        config: steps, batch and rate; None for those that suit the tiny base.
        prior: pictures of the class that the base draws, not to forget it; 0 for none.
        format: ``diffusers``, or ``kohya`` for A1111 and ComfyUI.
        seed: same seed, same weights; None for a secret one.
        base: by name or as it was loaded.
        overwrite: replace an adapter that is there, or another run's checkpoint.
        on_progress: told how far it is.
        on_note: told what a person should know.

    Raises:
        UserError: options that cannot be, a folder of several subjects, or a file in the way.

    Examples:
        >>> config = sfumato.FinetuneConfig(steps=2, batch=2)
        >>> lora = sfumato.LoraSettings(rank=2)
        >>> how = {"lora": lora, "config": config, "prior": 0, "base": base}
        >>> made = sfumato.finetune("pictures", "x.safetensors", trigger="zwx", **how)
        >>> made.prompt, made.pictures, len(made.losses)
        ('a photo of zwx peep', 4, 2)
    """
    out = Path(out)
    lora = LoraSettings() if lora is None else lora
    config = FinetuneConfig() if config is None else config
    _check(out, trigger, kind, config, prior, format, seed)
    cut = crop_of(crop)
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    shown = [out.with_suffix(".pictures")] if config.validate_every and not checkpoint.exists() else []
    finished.keep(out, out.with_suffix(".json"), *shown, overwrite=overwrite)
    if seed is None:
        known = training.seed_of(checkpoint)
        seed = secrets.randbits(63) if known is None else known
    loaded = base_of(base)
    found = _subject.pictures(Path(pictures), size=loaded.size, crop=cut, on_note=on_note)
    trigger, kind = _subject.called(found, trigger, kind, on_note=on_note)
    for line in _subject.warnings(trigger, config.lr):
        on_note(line)
    prompt, class_prompt = f"a photo of {trigger} {kind}", f"a photo of {kind}"
    task = _task(
        loaded, found, prompt, class_prompt, captions=captions, prior=prior, seed=seed, on_progress=on_progress, on_note=on_note
    )  # fmt: skip

    def tell(progress: Progress) -> None:
        on_progress("fine-tuning", progress.step, progress.steps, f"loss {progress.loss:.3f}")

    def show(step: int) -> None:
        _save_pictures(loaded, prompt, out.with_suffix(".pictures") / f"step-{step:05d}.png", seed=seed)

    trained = training.train_one(loaded, task, lora, config, checkpoint=checkpoint, overwrite=overwrite, on_step=tell, validate=show)
    formats.write(trained.adapter, out, format=format)
    checkpoint.unlink(missing_ok=True)
    facts = _describe(loaded, out, settings=lora, config=config, prompt=prompt, format=format)
    return Finetuned(
        out=out,
        facts=facts,
        format=format,
        pictures=len(found),
        captioned=sum(bool(example.caption) for example in found) if captions else 0,
        trigger=trigger,
        prompt=prompt,
        class_pictures=prior,
        layers=len(trained.adapter.factors),
        parameters=trained.adapter.parameters,
        lora=lora,
        config=config,
        losses=tuple(trained.losses),
    )


def _check(
    out: Path, trigger: str | None, kind: str | None, config: FinetuneConfig, prior: int, format: str, seed: int | None
) -> None:  # fmt: skip
    """Refuse what cannot be, before anything is read."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}", expected="a file name that ends in .safetensors")
    if out.is_dir():
        raise UserError(f"--out {out}: a folder", expected="a file name that ends in .safetensors")
    if format not in get_args(Format):
        raise UserError(f"--format {format!r}", expected=f"one of {', '.join(get_args(Format))}")
    if (trigger is not None and not trigger.strip()) or (kind is not None and not kind.strip()):
        raise UserError(f"--trigger {trigger!r}, --class {kind!r}", expected="a word each")
    _subject.check_rate(config.lr)
    if prior < 0 or (seed is not None and seed < 0):
        raise UserError(f"--prior {prior}, --seed {seed}", expected="whole numbers from 0 up")


def _task(
    base: Base, found: Folder, prompt: str, class_prompt: str, *, captions: bool, prior: int, seed: int,
    on_progress: OnProgress = no_progress, on_note: OnNote = no_note,
) -> Task:  # fmt: skip
    """Read the pictures, each as often as its folder repeats it, and let the base draw those of the class."""
    examples = found.examples
    words = [example.caption if captions else "" for example in examples]
    if captions:
        _check_captions(found, words, on_note)
    rows = _subject.rows(found)
    latents = base.encode_pixels(np.stack([example.image() for example in examples]))[rows]
    prompts = tuple(f"{prompt}, {words[row]}" if words[row] else prompt for row in rows)
    of_class = None
    if prior:
        done, whole = count(1), SAMPLE_STEPS * -(-prior // 16)
        of_class = class_latents(
            base, class_prompt, prior, generator=generator(seed, PRIOR),
            on_step=lambda: on_progress("drawing the class", next(done), whole),
        )  # fmt: skip
    return Task(latents=latents, prompts=prompts, seed=seed, class_latents=of_class, class_prompt=class_prompt)


def _check_captions(folder: Folder, words: list[str], on_note: OnNote) -> None:
    """Refuse ``--captions`` where there are none, and say where some are missing."""
    missing = words.count("")
    if missing == len(words):
        columns = f" (its table has {', '.join(folder.columns)})" if folder.columns else ""
        raise UserError(
            f"--captions, and no caption in {folder.path}{columns}",
            expected="`text` or `caption` in metadata.jsonl, captions/NAME.txt beside images/, or NAME.txt or NAME.caption beside NAME.png",
            fix="name them so, or leave --captions out",
        )
    if missing:
        on_note(f"{missing} of {len(words)} pictures have no caption: they are trained under the prompt alone")


def _save_pictures(base: Base, prompt: str, path: Path, *, seed: int, count: int = 4) -> None:
    """A row of what the adapter draws for its prompt."""
    pixels = base.decode_pixels(sample(base, [prompt] * count, generator=generator(seed, PICTURES), steps=SAMPLE_STEPS))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(pixels), axis=1)).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue(), private=True)


def _describe(base: Base, out: Path, *, settings: LoraSettings, config: FinetuneConfig, prompt: str, format: str) -> Path:
    """The facts beside the file. No seed, which gives the first weights away; nothing of the folder, not even how many pictures."""
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
    path = out.with_suffix(".json")
    write_json(path, facts)
    return path
