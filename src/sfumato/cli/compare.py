"""``sfumato compare``: every training scheme side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfumato.studies.training.arms import ABLATIONS

ALSO = f"Only this scheme; may be given again. Also: {', '.join(ABLATIONS)}."


def command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Your own pictures, a folder for each owner, in place of invented people. Up to a fifth is kept aside to judge by.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the tables go; run again to go on.")] = Path("sfumato-compare"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One style, 80 steps, 64 conditions (ten minutes): does it run? Nothing is learned in 80 steps.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Three picture sets, two seeds, 1,000 conditions each (many hours).")] = False,
    steps: Annotated[int | None, typer.Option(help="Steps of every server. [default: 400; 80 with --quick]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of pictures, training and judging. [default: 0; 0 and 1 with --full]")] = None,
    condition: Annotated[
        str, typer.Option(help="canny, scribble, or another that is installed; given: your folders bring one for each picture.")
    ] = "canny",
    scheme: Annotated[
        list[str] | None,
        typer.Option("--scheme", help=ALSO),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train by every scheme on the same pictures: bytes, memory, time, quality and privacy in one table (an hour)."""
    from sfumato.cli import _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    if quick and full:
        raise UserError("--quick and --full", expected="one of them, or neither")
    from sfumato.studies.training.arms import ARMS, fitting
    from sfumato.studies.training.compare import DOMAINS, SIZES, YOURS, CompareConfig, few, run

    size: dict[str, Any] = dict(SIZES["quick" if quick else "full" if full else "default"])
    words = ["sfumato compare", *(folder.name for folder in folders or ()), *(["--quick"] if quick else ["--full"] if full else [])]
    if folders:
        size |= {"domains": (YOURS,), "folders": tuple(folders), "frechet": False}
        _output.say(f"{out} will hold your pictures and what is made of them: it is private, and never to be shared")
    size |= {"condition": condition, "arms": tuple(scheme) if scheme else fitting(condition)}
    if condition != "canny":
        words.append(f"--condition {condition}")
    if left := [name for name in ARMS if not scheme and name not in size["arms"]]:
        _output.say(f"left out, since no server can find {condition} conditions by itself: {', '.join(left)}")
    if steps is not None:
        size["steps"] = steps
        words.append(f"--steps {steps}")
    if seed is not None:
        size["seeds"] = (seed,)
        words.append(f"--seed {seed}")
    config = CompareConfig(**size)
    with _output.bar("getting ready") as advance:
        figures = run(config, out, command=" ".join(words), tell=advance.phase)
    domains = {"schemes" if domain == "own" else domain: domain for domain in DOMAINS}
    if as_json:
        shown = (*domains, "sd15", "speed", "seeds", "settings", "few", "folders")
        _output.emit({name: figures[name] for name in shown if name in figures})
        return
    for key in domains:
        for name, row in figures.get(key, {}).items():
            a = row["adherence"]
            bytes_up = f"{row['bytes_up_per_picture']:>12,.0f} bytes up a picture" if row.get("private_pictures") else ""
            _output.say(f"{key:8} {name:16} A = {a['mean']:5.2f} [{a['low']:.2f}, {a['high']:.2f}] {bytes_up}")
    for line in figures.get("folders", {}).get("notes", ()):
        _output.say(line)
    if said := few(config):
        _output.say(said)
    _output.say(f"Look: {out / 'compare.html'}")
