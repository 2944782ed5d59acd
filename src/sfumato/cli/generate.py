"""``sfumato generate``: pictures under a condition, or under each of a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

GUIDANCE = 3.0


def command(
    controlnet: Annotated[Path, typer.Argument(help="A folder that sfumato train wrote.")],
    condition: Annotated[
        Path, typer.Option("--condition", help="A condition picture, such as white edges on black, or a folder of them: all are taken.")
    ],
    prompt: Annotated[
        str,
        typer.Option(
            help="What to paint, in words that the base knows. Left out, as where it has none: the condition alone, at guidance 1."
        ),
    ] = "",
    count: Annotated[int, typer.Option("-n", help="How many pictures of each condition.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the pictures go; those of a folder keep its names.")] = Path("generated"),
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 25,
    guidance: Annotated[
        float | None, typer.Option(help=f"How much more than usual the prompt counts. [default: {GUIDANCE:g}; 1 without a prompt]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    base: Annotated[
        str | None, typer.Option(help="The base that it was trained on. [default: tiny, where it was that; others have to be named]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pictures that are there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Generate pictures that follow a condition. Prompt, seed, steps and guidance stand in each PNG's text."""
    import math

    from sfumato.cli import _output
    from sfumato.core import finished
    from sfumato.core.errors import UserError

    if count < 1 or steps < 1 or seed < 0:
        raise UserError(f"-n {count}, --steps {steps}, --seed {seed}", expected="at least 1 picture, 1 step and seed 0")
    guidance = (GUIDANCE if prompt.strip() else 1.0) if guidance is None else guidance
    if not math.isfinite(guidance):
        raise UserError(f"--guidance {guidance}", expected="a number such as 3, or 1 for the prompt as it is")
    asked = conditions(condition)
    paths = [out / name for stem in asked for name in _names(stem if condition.is_dir() else "", count)]
    finished.keep(*paths, overwrite=overwrite)
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    import numpy as np

    from sfumato.core.artifact import write_atomic
    from sfumato.core.device import choose_device
    from sfumato.diffusion.base import load_base
    from sfumato.diffusion.controlnet import base_of, check_fits, load_latent_controlnet
    from sfumato.owner.picture_file import read_picture
    from sfumato.server.generate import BATCH, generate

    if not prompt.strip():
        _output.say(f"no --prompt: the pictures follow the condition alone{'' if guidance == 1 else ', and --guidance changes nothing'}")
    device = choose_device()
    model, settings = load_latent_controlnet(controlnet, device=device)
    loaded = load_base(base or base_of(settings), device=device)
    if loaded.unet_fingerprint != settings["base"]["unet"]:
        raise UserError(
            f"base {loaded.name!r} is not the one that {controlnet} was trained on",
            expected=f"{settings['base']['name']!r}",
            fix="pass --base with the base it was trained on",
        )
    check_fits(model, loaded)
    shown = [path for path in asked.values() for _ in range(count)]
    with _output.bar("generating") as advance:
        for number, start in enumerate(range(0, len(shown), BATCH)):  # as many as share their draws: memory is bounded by them
            part = shown[start : start + BATCH]
            images = generate(
                loaded,
                [prompt] * len(part),
                seed=seed,
                first=number,
                controlnet=model,
                settings=settings,
                conditions=np.stack([read_picture(path, size=loaded.size) for path in part]),
                steps=steps,
                guidance=guidance,
                on_step=lambda done, total, number=number: advance(number * steps + done, steps * -(-len(shown) // BATCH)),  # type: ignore[misc]
            )
            for place, image in enumerate(images, start):
                how = {"prompt": prompt, "seed": seed, "picture": place, "steps": steps, "guidance": guidance}
                write_atomic(paths[place], png(image, {**how, "base": settings["base"]["name"]}))
    if as_json:
        _output.emit({"pictures": [str(path) for path in paths]})
    else:
        _output.say(f"{len(paths)} pictures in {out}")


def conditions(path: Path) -> dict[str, Path]:
    """The condition pictures at ``path``, a file or a folder, by what the pictures made from them are called.

    Raises:
        UserError: nothing there, or a folder without pictures.
    """
    from sfumato.core.errors import UserError
    from sfumato.owner.picture_file import SUFFIXES

    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".") and one.is_file())
        if not files:
            raise UserError(f"--condition {path}: no pictures in it", expected="a condition picture, or a folder of them")
        stems = [one.stem for one in files]
        return {one.stem if stems.count(one.stem) == 1 else one.name: one for one in files}
    if not path.exists():
        raise UserError(f"--condition {path}: missing: no such file or folder", expected="a condition picture, or a folder of them")
    return {path.stem: path}


def _names(stem: str, count: int) -> list[str]:
    """What ``count`` pictures of one condition are called; ``stem`` is empty where there is but one condition."""
    if not stem:
        return [f"{number:04d}.png" for number in range(count)]
    return [f"{stem}.png"] if count == 1 else [f"{stem}-{number:04d}.png" for number in range(count)]


def png(image: np.ndarray, text: dict[str, object]) -> bytes:
    """uint8 ``(H, W, 3)`` as a PNG that says in its text how it was made; nothing of the machine or of files."""
    import io

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from sfumato import __version__

    info = PngInfo()
    for name, value in {**text, "software": f"sfumato {__version__}"}.items():
        info.add_itxt(name, str(value))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
