"""``sfumato demo``: the main job on invented people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the report goes.")] = Path("sfumato-demo"),
    full: Annotated[
        bool, typer.Option("--full", help="Also train on public and on unprotected pictures, and judge more (35 minutes).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the pictures and the training; the protecting noise takes none.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Two owners seal, a server trains, pictures come out: the whole job on invented people, in a few minutes, offline."""
    from sfumato.cli import _output
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.studies.demo import LABELS, DemoConfig, bars, run

    config = DemoConfig(full=True, conditions=200, steps=700, seed=seed) if full else DemoConfig(seed=seed)
    with _output.bar("getting ready") as advance:
        figures = run(config, out, tell=advance.phase)
    if as_json:
        _output.emit(figures)
    else:
        for arm, label in LABELS.items():
            if arm in figures["adherence"]:
                a = figures["adherence"][arm]
                _output.say(f"A = {a['mean']:5.2f} [{a['low']:.2f}, {a['high']:.2f}]  {label}")
        for bar in bars(figures):
            _output.say(("met: " if bar["met"] else "NOT met: ") + bar["text"])
        _output.say(
            f"{figures['seconds']:.0f} s; {figures['bytes_per_picture']:.0f} bytes left for each picture. Look: {out / 'report.html'}"
        )
    if not all(bar["met"] for bar in bars(figures)):
        raise typer.Exit(1)
