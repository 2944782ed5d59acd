"""``generate``: pictures that follow a condition, under a ControlNet that ``train`` wrote."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sfumato._version import __version__
from sfumato.api._common import OnNote, OnProgress, base_of, no_note, no_progress
from sfumato.core import finished
from sfumato.core.artifact import write_atomic
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base
from sfumato.diffusion.words import unknown
from sfumato.owner.picture_file import SUFFIXES, read_picture
from sfumato.server import generate as server

GUIDANCE = 3.0


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Pictures, and how they were made.

    Attributes:
        conditions: the condition picture of each, N paths.
        paths: where they were written, N PNGs; empty where no folder was named.
        prompt, seed, steps, guidance: as they were used.
        base: the base's name.
    """

    conditions: tuple[Path, ...]
    paths: tuple[Path, ...]
    prompt: str
    seed: int
    steps: int
    guidance: float
    base: str
    _held: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def images(self) -> np.ndarray:
        """The pictures, uint8 ``(N, H, W, 3)``; read from their files where they were written."""
        if not self.paths:
            return np.concatenate(self._held)
        return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in self.paths])


def generate(
    controlnet: str | Path,
    condition: str | Path,
    *,
    prompt: str = "",
    count: int = 1,
    out: str | Path | None = None,
    steps: int = 25,
    guidance: float | None = None,
    seed: int = 0,
    base: str | Path | Base | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = no_note,
) -> Generated:
    """Generate pictures under a condition, or under each of a folder of them.

    Args:
        controlnet: a folder that ``train`` wrote.
        condition: a condition picture, such as white edges on black, or a folder of them.
        prompt: what to paint; empty for the condition alone.
        count: pictures of each condition.
        out: a folder for them as PNGs, which say in their text how they were made; None to keep
            them in memory.
        steps: DDIM steps.
        guidance: how much more than usual the prompt counts; None for 3, or 1 without a prompt.
        seed: same seed, same pictures.
        base: the base that it was trained on, by name or as it was loaded; None for the one that
            ships.
        overwrite: replace pictures that are there.
        on_progress: told how far it is.
        on_note: told what a person should know.

    Raises:
        UserError: no such picture or folder, another base, or pictures in the way.

    Examples:
        >>> made = sfumato.generate("controlnet", "edges.png", count=2, steps=1, base=base)
        >>> made.images.shape, made.images.dtype, made.guidance
        ((2, 32, 32, 3), dtype('uint8'), 1.0)
    """
    controlnet, condition = Path(controlnet), Path(condition)
    if count < 1 or steps < 1 or seed < 0:
        raise UserError(f"-n {count}, --steps {steps}, --seed {seed}", expected="at least 1 picture, 1 step and seed 0")
    guidance = (GUIDANCE if prompt.strip() else 1.0) if guidance is None else guidance
    if not math.isfinite(guidance):
        raise UserError(f"--guidance {guidance}", expected="a number such as 3, or 1 for the prompt as it is")
    asked = conditions(condition)
    paths = [] if out is None else _places(Path(out), list(asked) if condition.is_dir() else [""], count)
    finished.keep(*paths, overwrite=overwrite)
    if not prompt.strip():
        on_note(f"no --prompt: the pictures follow the condition alone{'' if guidance == 1 else ', and --guidance changes nothing'}")
    model, settings, loaded = _loaded(controlnet, base)
    if guidance > 1 and (odd := unknown(prompt, loaded.tokenizer)):
        on_note(f"words that this base does not know, and that say nothing to it: {', '.join(odd)}")
    shown = [path for path in asked.values() for _ in range(count)]
    held = []
    whole = steps * -(-len(shown) // server.BATCH)
    for number, start in enumerate(range(0, len(shown), server.BATCH)):  # as many as share their draws: memory is bounded by them
        part = shown[start : start + server.BATCH]
        images = server.generate(
            loaded,
            [prompt] * len(part),
            seed=seed,
            first=number,
            controlnet=model,
            settings=settings,
            conditions=np.stack([read_picture(path, size=loaded.size) for path in part]),
            steps=steps,
            guidance=guidance,
            on_step=lambda done, total, before=number * steps: on_progress("generating", before + done, whole),  # type: ignore[misc]
        )
        if not paths:
            held.append(images)
        for place, path in enumerate(paths[start : start + len(images)], start):
            how = {"prompt": prompt, "seed": seed, "picture": place, "steps": steps, "guidance": guidance}
            write_atomic(path, png(images[place - start], {**how, "base": settings["base"]["name"]}))
    return Generated(
        conditions=tuple(shown), paths=tuple(paths), prompt=prompt, seed=seed, steps=steps, guidance=guidance,
        base=settings["base"]["name"], _held=tuple(held),
    )  # fmt: skip


def _loaded(controlnet: Path, base: str | Path | Base | None) -> tuple[Any, dict[str, Any], Base]:
    """The ControlNet, its settings and its base.

    Raises:
        UserError: another base, or one that has to be named.
    """
    model, settings = nets.load_latent_controlnet(controlnet, device=base.unet.device if isinstance(base, Base) else choose_device())
    loaded = base_of(nets.base_of(settings) if base is None else base)
    if loaded.unet_fingerprint != settings["base"]["unet"]:
        raise UserError(
            f"base {loaded.name!r} is not the one that {controlnet} was trained on",
            expected=f"{settings['base']['name']!r}",
            fix="pass --base with the base it was trained on",
        )
    nets.check_fits(model, loaded)
    return model, settings, loaded


def conditions(path: Path) -> dict[str, Path]:
    """The condition pictures at ``path``, a file or a folder, by what the pictures made from them are called.

    Raises:
        UserError: nothing there, or a folder without pictures.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".") and one.is_file())
        if not files:
            raise UserError(f"--condition {path}: no pictures in it", expected="a condition picture, or a folder of them")
        stems = [one.stem for one in files]
        return {one.stem if stems.count(one.stem) == 1 else one.name: one for one in files}
    if not path.exists():
        raise UserError(f"--condition {path}: missing: no such file or folder", expected="a condition picture, or a folder of them")
    return {path.stem: path}


def _places(out: Path, stems: list[str], count: int) -> list[Path]:
    """Where ``count`` pictures of each condition go; a stem is empty where there is but one condition."""
    return [out / name for stem in stems for name in _names(stem, count)]


def _names(stem: str, count: int) -> list[str]:
    if not stem:
        return [f"{number:04d}.png" for number in range(count)]
    return [f"{stem}.png"] if count == 1 else [f"{stem}-{number:04d}.png" for number in range(count)]


def png(image: np.ndarray, text: dict[str, object]) -> bytes:
    """uint8 ``(H, W, 3)`` as a PNG that says in its text how it was made; nothing of the machine or of files."""
    info = PngInfo()
    for name, value in {**text, "software": f"sfumato {__version__}"}.items():
        info.add_itxt(name, str(value))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
