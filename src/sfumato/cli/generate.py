"""``sfumato generate``: pictures under a condition, or under each of a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GUIDANCE = 3.0  # of ``sfumato.generate``: help is shown without it


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
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.api.generate import generate

    with _output.bars() as progress:
        made = generate(
            controlnet, condition, prompt=prompt, count=count, out=out, steps=steps, guidance=guidance, seed=seed, base=base,
            overwrite=overwrite, on_progress=progress, on_note=_output.say,
        )  # fmt: skip
    if as_json:
        from sfumato.cli.outputs.generate import Generate

        _output.emit(Generate(pictures=tuple(str(path) for path in made.paths)))
    else:
        _output.say(f"{len(made.paths)} pictures in {out}")
