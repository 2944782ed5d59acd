"""Every attack on every scheme: what ``sfumato matrix`` and ``sfumato attack --matrix`` run and say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def run(rows: tuple[str, ...], schemes: list[str] | None, effort: str, out: Path, jobs: int, as_json: bool) -> None:
    """Attack the schemes, and say what came out.

    Args:
        rows: attacks, as they are called.
        schemes: only these; None for all.
        effort: of each attack.
        out: where the tables go; run again to go on.
        jobs: processes; 0 for one a core, at most four.
        as_json: print the one object in place of words.
    """
    from sfumato.cli import _attacks, _output
    from sfumato.cli.outputs.matrix import Matrix
    from sfumato.core.device import choose_device
    from sfumato.core.errors import UserError
    from sfumato.studies.records import matrix

    chosen: dict[str, Any] = {"schemes": tuple(schemes)} if schemes else {}
    config = matrix.MatrixConfig(attacks=rows, effort=effort, **chosen)  # type: ignore[arg-type]
    if jobs < 0:
        raise UserError(f"--jobs {jobs}", expected="a number of processes, or 0")
    jobs = jobs or (min(4, os.cpu_count() or 1) if choose_device() == "cpu" else 1)
    with _output.bar("getting ready", timed=False) as advance:
        figures = matrix.run(config, out, jobs=jobs, command=f"sfumato matrix --effort {effort}", tell=advance.phase)
    found = Matrix.of(figures)
    if as_json:
        _output.emit(found)
        return
    for scheme, attacks in found.matrix.items():
        _output.say(f"{scheme}: {', '.join(found.leaks.get(scheme, {})) or 'nothing'} leaves")
        for line in _attacks.rows(attacks):
            _output.say(line)
    _output.say(f"Look: {out / 'matrix.html'}")
