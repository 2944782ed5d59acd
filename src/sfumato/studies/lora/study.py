"""The study of shared weights: private people's adapters, and every attack on each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.core.artifact import write_json
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import DEFAULT, Base
from sfumato.studies.lora import attacker, dataset_size, evaluate, membership, merging, people
from sfumato.studies.lora.people import PeopleConfig


def run(
    base: Base, config: PeopleConfig, work: Path, out: Path, attackers: list[Path], *, odd: bool = False, more: bool = False,
    anyway: bool = False, only: tuple[str, ...] = (), effort: Effort = "quick",
    command: str = "sfumato attack-weights evaluate", tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Private people's adapters, and every attack on each of them (or those rows of ``only``),
    unless the gate is not passed; see ``evaluate.evaluate``. Where no attacker is named it is the
    one that ships, if one does for ``base``."""
    models = attacker.named(base, attackers or ([attacker.shipped(base)] if base.name == DEFAULT else []))
    victims = people.train_victims(base, config, work / "victims", odd=odd, tell=tell)
    known = Scenario(base, *attacker.of_public(base, config, work))
    rows = tuple(row for row in evaluate.all_rows(models) if not only or row.attack in only)
    figures = evaluate.evaluate(
        base, victims, rows, known, config, out, models=models, effort=effort, anyway=anyway, command=command, tell=tell
    )
    if more and (figures["gate"]["passed"] or anyway) and "more" not in figures:
        figures["more"] = {
            "membership": membership.measure(base, victims, config, effort=effort, shadowed=4, tell=tell),
            "dataset_size": dataset_size.measure(base, config, work / "sizes", tell=tell),
            "merging": merging.measure(base, victims[:8], config, effort=effort),
        }
        write_json(out / "weights.json", figures)
    return figures
