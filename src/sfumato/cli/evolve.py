"""``sfumato evolve``: a pool of drawn pictures that moves towards what owners vote for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sfumato.api.evolve import Evolved

app = typer.Typer(no_args_is_help=True, help="Draw pictures, let owners vote on them by noisy counts, and draw again around what won.")
PoolFolder = Annotated[Path, typer.Argument(help="The folder of the pool.")]
BaseName = Annotated[str, typer.Option("--base", help="tiny, a diffusers folder, or a hub id of SD 1.x / 2.x.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def start(
    pool: PoolFolder,
    pictures: Annotated[int, typer.Option(help="How many are drawn in each round.")] = 1000,
    clusters: Annotated[int, typer.Option(help="How many a menu has. Few stand out of the noise more easily.")] = 24,
    owners: Annotated[int, typer.Option(help="How many are expected to vote: decides what they are told, and no guarantee.")] = 1,
    prompt: Annotated[list[str] | None, typer.Option(help="Public words to draw under, too; may be given several times.")] = None,
    network: Annotated[
        str, typer.Option(help="What says how alike pictures are: efficientnet_lite0, latent, pixels.")
    ] = "efficientnet_lite0",
    condition: Annotated[str, typer.Option(help="What a ControlNet of this pool will follow: canny or scribble.")] = "canny",
    steps: Annotated[int, typer.Option(help="Of drawing.")] = 25,
    seed: Annotated[int, typer.Option(help="Seed of the server's own draws.")] = 0,
    base: BaseName = "tiny",
    as_json: Json = False,
) -> None:
    """Draw a pool and write its first menu. Nothing private is involved. Interrupted? Run it again: it goes on."""
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.api.evolve import start_pool

    with _output.bars() as progress:
        started = start_pool(
            pool, pictures=pictures, clusters=clusters, owners=owners, prompts=prompt or (), network=network, condition=condition,
            steps=steps, seed=seed, base=base, on_progress=progress,
        )  # fmt: skip
    _tell(started, as_json=as_json)


@app.command(name="next")
def next_(
    pool: PoolFolder,
    ballots: Annotated[list[Path], typer.Argument(help="One ballot of each owner, for the pool's last menu.")],
    threshold: Annotated[float, typer.Option(help="Standard deviations of the noise that a cluster's count must exceed.")] = 2.0,
    base: BaseName = "tiny",
    as_json: Json = False,
) -> None:
    """Count the ballots, draw pictures around what won, and write a new menu. Interrupted? Run it again: it goes on."""
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.api.evolve import next_round

    with _output.bars() as progress:
        evolved = next_round(pool, ballots, threshold=threshold, base=base, on_progress=progress, on_note=_output.say)
    _tell(evolved, as_json=as_json)


def _tell(evolved: Evolved, *, as_json: bool) -> None:
    from sfumato.cli import _output

    if as_json:
        counts = None if evolved.counts is None else evolved.counts.tolist()
        _output.emit({
            "pool": str(evolved.pool), "round": evolved.round, "menu": str(evolved.menu), "sheet": str(evolved.sheet),
            "pictures": evolved.pictures, "clusters": evolved.clusters, "counts": counts, "noise": evolved.noise,
            "threshold": evolved.threshold, "winners": evolved.winners, "owners": evolved.owners,
        })  # fmt: skip
        return
    if evolved.counts is not None:
        best = ", ".join(f"{k} ({evolved.counts[k]:.1f})" for k in evolved.winners[:8])
        _output.say(
            f"{len(evolved.owners)} ballots, noise {evolved.noise:.2f} a count: {len(evolved.winners)} of {evolved.clusters} clusters "
            f"have more than {evolved.threshold:.1f}: {best}"
        )
    _output.say(f"round {evolved.round}: {evolved.pictures} pictures in {evolved.clusters} clusters; look at {evolved.sheet}")
    train = f", or train: sfumato train {evolved.pool} -o OUT" if evolved.round > 1 else ""
    _output.say(f"send {evolved.menu} to the owners, for sfumato vote{train}")
