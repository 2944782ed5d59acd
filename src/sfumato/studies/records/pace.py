"""How long attacks on records take, so that it can be said beforehand: roughly, and from what was
measured alone.

``assets/pace.json`` holds seconds of one busy core by attack and effort, fixed and a record, on the
tiny base with a UNet that takes ``probe`` seconds; a slower machine or a larger base is told by its
own probe. ``recipes/measure_pace.py`` makes it of audits; what it lacks was never timed.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch

from sfumato.attacker.attempt import Effort
from sfumato.diffusion.base import Base
from sfumato.studies.records.audited import taken

PROBED = 4  # latents that the UNet is shown


@lru_cache
def measured() -> dict[str, Any]:
    """The table that ships: ``probe``, and by effort and attack
    ``[fixed seconds, seconds a record]``."""
    found: dict[str, Any] = json.loads((files("sfumato") / "assets" / "pace.json").read_text())
    return found


def seconds(row: str, effort: Effort, records: int, *, slower: float = 1.0) -> float | None:
    """What an attack takes of ``records`` where the machine is ``slower`` than the table's; None
    where nothing was measured."""
    known = measured()["seconds"].get(effort, {}).get(row)
    if known is None:
        return None
    fixed, each = known
    return float(slower * (fixed + each * taken(row, effort, records)))


def slower(base: Base) -> float:
    """How many times as long the base's UNet takes on this machine as the table's did."""
    return probe(base) / float(measured()["probe"])


def total(rows: list[str], effort: Effort, records: int, base: Base) -> float:
    """What these attacks take together, as far as it was measured."""
    factor = _slower(id(base), base)
    return sum(seconds(row, effort, records, slower=factor) or 0.0 for row in rows)


def left(rows: list[str], effort: Effort, records: int, base: Base) -> str:
    """Words for a progress line: what the attacks that remain will take."""
    return f", about {words(total(rows, effort, records, base))} left"


def plan(rows: list[str], effort: Effort, records: int, base: Base, *, jobs: int = 1) -> list[str]:
    """What each attack will take and all of them, ``jobs`` at a time, in lines; those that take less
    than a second are not named."""
    if not rows:
        return []
    factor, known = _slower(id(base), base), {}
    for row in rows:
        known[row] = seconds(row, effort, records, slower=factor)
    long = {row: span for row, span in known.items() if span is not None and span >= 1}
    said = [f"{row} {words(span)}" for row, span in sorted(long.items(), key=lambda item: -item[1])]
    unknown = [row for row, span in known.items() if span is None]
    whole = max(sum(long.values()) / jobs, max(long.values(), default=0.0))
    how = f", {jobs} at a time" if jobs > 1 else ""
    lines = [f"{len(rows)} attacks on {records} records, about {words(whole)} on this machine{how}: {', '.join(said)}"] if said else []
    return lines + ([f"never timed at this effort: {', '.join(unknown)}"] if unknown else [])


def words(span: float) -> str:
    """Seconds as people say them, never more exact than they are known."""
    if span < 90:
        return f"{max(5, 5 * round(span / 5))} s"
    return f"{round(span / 60)} min" if span < 5400 else f"{span / 3600:.1f} h"


@torch.no_grad()
def probe(base: Base) -> float:
    """Seconds of one look of the UNet at ``PROBED`` latents, the better of two."""
    z = torch.zeros((PROBED, *base.latent_shape), device=base.unet.device)
    t, context = torch.full((PROBED,), 500, device=base.unet.device), base.empty_context.to(base.unet.device).expand(PROBED, -1, -1)
    took = []
    for _ in range(2):
        started = time.monotonic()
        base.unet(z, t, encoder_hidden_states=context)
        took.append(time.monotonic() - started)
    return min(took)


_factors: dict[int, float] = {}


def _slower(key: int, base: Base) -> float:
    if key not in _factors:
        _factors[key] = slower(base)
    return _factors[key]
