"""``sfumato generate``: pictures under a condition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    controlnet: Annotated[Path, typer.Argument(help="A folder that sfumato train wrote.")],
    condition: Annotated[Path, typer.Option("--condition", help="The condition picture, such as white edges on black.")],
    prompt: Annotated[str, typer.Option(help="What to paint.")] = "",
    count: Annotated[int, typer.Option("-n", help="How many pictures.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the pictures go.")] = Path("generated"),
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 25,
    guidance: Annotated[float, typer.Option(help="Guidance scale.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    base: Annotated[str | None, typer.Option(help="The base; by default the one it was trained on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Generate pictures that follow a condition."""
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    import io

    import numpy as np
    from PIL import Image

    from sfumato.core.artifact import write_atomic
    from sfumato.core.device import choose_device
    from sfumato.core.errors import UserError
    from sfumato.diffusion.base import load_base
    from sfumato.diffusion.controlnet import base_of, check_fits, load_latent_controlnet
    from sfumato.owner.picture_file import read_picture
    from sfumato.server.generate import generate

    if count < 1:
        raise UserError(f"-n {count}", expected="at least 1")
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
    picture = read_picture(condition, size=loaded.size)
    with _output.bar("generating") as advance:
        images = generate(
            loaded,
            [prompt] * count,
            seed=seed,
            controlnet=model,
            settings=settings,
            conditions=np.stack([picture] * count),
            steps=steps,
            guidance=guidance,
            on_step=advance,
        )
    paths = []
    for number, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        paths.append(out / f"{number:04d}.png")
        write_atomic(paths[-1], buffer.getvalue())
    if as_json:
        _output.emit({"pictures": [str(path) for path in paths]})
    else:
        _output.say(f"{count} pictures in {out}")
