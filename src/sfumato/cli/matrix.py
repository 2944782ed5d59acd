"""``sfumato matrix``: every attack on every scheme, on invented people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli._choices import Effort


def command(
    attacks: Annotated[str, typer.Option(help="all, or names with commas between: algebraic,diffusion_prior.")] = "all",
    scheme: Annotated[list[str] | None, typer.Option("--scheme", help="Only this scheme; may be given again.")] = None,
    effort: Annotated[Effort, typer.Option(help="Of each attack. What an effort leaves out: sfumato attack --list.")] = Effort.QUICK,
    jobs: Annotated[int, typer.Option(help="Processes; 0 for one a core, at most four.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the tables go; run again to go on.")] = Path("sfumato-matrix"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack every training scheme, on invented people, and put what comes out in one table (an hour)."""
    from sfumato.cli import _matrix
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.attacker.records import base as known

    _matrix.run(known.chosen(attacks), scheme, effort.value, out, jobs, as_json)
