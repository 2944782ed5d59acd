"""``sfumato vote``: an owner's noisy votes on a menu."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli._choices import Crop
from sfumato.cli._shared import CROP

EPSILON = "Of all --rounds together, at delta 1e-5. Smaller is more private, and noisier."


def command(
    folder: Annotated[
        Path, typer.Argument(help="Your pictures, as seal takes them. A `person` column makes the guarantee one for people.")
    ],
    menu: Annotated[Path, typer.Option(help="The menu that the server sent, a .safetensors file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the ballot goes. It may leave your machine.")] = None,
    owner: Annotated[str | None, typer.Option(help="The name that signs the ballot. It travels with it.")] = None,
    epsilon: Annotated[float, typer.Option(help=EPSILON)] = 1.0,
    rounds: Annotated[int, typer.Option(help="How many ballots this pool gets from you in all. The ledger stops there.")] = 1,
    look: Annotated[Path | None, typer.Option(help="Write the menu as a PNG to look at. Without --out nothing is voted.")] = None,
    crop: Annotated[Crop, typer.Option(help=CROP)] = Crop.CENTER,
    base: Annotated[str, typer.Option(help="The base that the pool was started with.")] = "tiny",
    allow_rerelease: Annotated[bool, typer.Option(help="Vote although these pictures voted in another pool.")] = False,
    insecure_seed: Annotated[int | None, typer.Option(hidden=True, help="For tests: noise from a seed, which protects nothing.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the PNG of --look.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Vote for the pictures of a menu that yours look like. Noisy counts leave, less than a kilobyte.

    Interrupted? Run it again: the same ballot is written, with no second draw.
    """
    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    if look is not None:
        _look(menu, look, overwrite=overwrite)
        if out is None:
            if as_json:
                from sfumato.cli.outputs.vote import MenuSeen

                _output.emit(MenuSeen(look=str(look)))
            else:
                _output.say(f"the menu is in {look}; no vote was cast")
            return
    if out is None or owner is None:
        raise UserError("no --out or no --owner", expected="-o BALLOT --owner NAME, or --look PNG alone", fix="name both")
    from sfumato.api.vote import vote
    from sfumato.core.randomness import InsecureNoise

    with _output.bars() as progress:
        voted = vote(
            folder, menu, out, owner=owner, epsilon=epsilon, rounds=rounds, crop=crop.value, base=base,
            allow_rerelease=allow_rerelease, noise=None if insecure_seed is None else InsecureNoise(insecure_seed),
            on_progress=progress, on_note=_output.say,
        )  # fmt: skip
    ballot = voted.ballot
    if as_json:
        from sfumato.cli.outputs.vote import Vote

        report = Vote(
            out=str(out),
            owner=owner,
            round=voted.round,
            rounds=ballot.rounds,
            unit=ballot.unit,
            epsilon=ballot.epsilon,
            delta=ballot.delta,
            mu=ballot.mu if ballot.secure else None,
            secure=ballot.secure,
            clusters=len(ballot.counts),
            bytes=out.stat().st_size,
            again=voted.again,
            skipped=voted.skipped,
            notes=voted.notes,
            card=voted.card,
        )
        _output.emit(report)
        return
    for line in (*(f"left out: {one}" for one in voted.skipped), *voted.notes):
        _output.say(line)
    whom = "people" if ballot.unit == "person" else "pictures"
    again = " again, as it was drawn the first time" if voted.again else ""
    _output.say(f"ballot {voted.round} of {ballot.rounds} in {out}{again}: {out.stat().st_size} bytes, of {voted.voters} {whom}")
    _output.say("privacy card\n" + "\n".join(f"  {line}" for line in voted.card))


def _look(menu: Path, out: Path, *, overwrite: bool) -> None:
    import io

    from PIL import Image

    from sfumato.core import finished
    from sfumato.core.artifact import write_atomic
    from sfumato.records import menu as menus

    finished.keep(out, overwrite=overwrite, option="--look")
    sheet, buffer = menus.read(menu).sheet(), io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    write_atomic(out, buffer.getvalue())
