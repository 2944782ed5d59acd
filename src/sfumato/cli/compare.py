"""``sfumato compare``: every training scheme side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the tables go; run again to go on.")] = Path("sfumato-compare"),
    quick: Annotated[bool, typer.Option("--quick", help="One style, few steps, 64 conditions (8 minutes).")] = False,
    full: Annotated[bool, typer.Option("--full", help="Three picture sets, two seeds, 1,000 conditions each (many hours).")] = False,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            "--scheme", help="Only this scheme; may be given again. Also: sealed-int8, unsealed, oneway-identity, oneway-empty, fedprox."
        ),
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
    from sfumato.studies.compare import SIZES, CompareConfig, run

    size = dict(SIZES["quick" if quick else "full" if full else "default"])
    if scheme:
        size["arms"] = tuple(scheme)
    config = CompareConfig(**size)
    with _output.bar("getting ready") as advance:
        command = " ".join(["sfumato compare", *(["--quick"] if quick else ["--full"] if full else [])])
        figures = run(config, out, command=command, tell=advance.phase)
    if as_json:
        _output.emit(
            {name: figures[name] for name in ("schemes", "shifted", "fill50k", "sd15", "speed", "seeds", "settings") if name in figures}
        )
        return
    for domain in ("schemes", "shifted", "fill50k"):
        for name, row in figures.get(domain, {}).items():
            a = row["adherence"]
            bytes_up = f"{row['bytes_up_per_picture']:>12,.0f} bytes up a picture" if row.get("private_pictures") else ""
            _output.say(f"{domain:8} {name:16} A = {a['mean']:5.2f} [{a['low']:.2f}, {a['high']:.2f}] {bytes_up}")
    _output.say(f"Look: {out / 'compare.html'}")
