"""What a shared LoRA gives away of who was fine-tuned on: every attack on the same victims, beside
what the owner and anybody can draw.

What a gate has to say of the owner's own pictures, and how attacks are compared, is in ``table``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfumato._version import __version__
from sfumato.adapters import formats
from sfumato.attacker.attempt import Effort, NoChannel, declared
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights._autoencoder import Autoencoder
from sfumato.attacker.weights._sampling import PICTURES, STEPS, adapted, pictures
from sfumato.attacker.weights._shadows import PublicAdapters
from sfumato.attacker.weights.base import Class, Guess, LineUp, Published, Recipe, Steps, Trigger
from sfumato.attacker.weights.network_autoencoder import Another, Trained
from sfumato.core.artifact import read_json, sha256, write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.core.randomness import spread
from sfumato.diffusion.base import Base
from sfumato.judge.report import pages
from sfumato.judge.verdict import Verdict
from sfumato.studies.lora.judge import Judge
from sfumato.studies.lora.people import CLASS_PROMPT, PeopleConfig, Victim, fitted
from sfumato.studies.lora.table import FLOOR, LINE_UP, OWNER, table

GUIDANCE = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table: an attack, what it is told beside the file, and the trained attacker
    that it uses, where there are several."""

    attack: str
    attacker: str = ""
    steps_known: bool = False
    trigger_known: bool = False
    another: bool = False

    @property
    def label(self) -> str:
        """How the table calls it."""
        words = (("steps known", self.steps_known), ("trigger known", self.trigger_known), ("of another's file", self.another))
        return ", ".join([self.attack, *([self.attacker] if self.attacker else []), *(word for word, holds in words if holds)])

    def most(self, effort: Effort) -> int | None:
        """On how many victims it is tried at most; None for all of them."""
        found: int | None = getattr(attacks.attack(self.attack.partition(":")[0]), "VICTIMS", {}).get(effort)
        return found


def all_rows(models: Mapping[str, Autoencoder]) -> tuple[Row, ...]:
    """Every attack that leads to a person, with and without what may have leaked beside the file;
    ``models`` are trained attackers by any name. Those that rank a line-up themselves come first.

    The first attacker of each encoder is also shown another victim's file: what that recovers was
    not read off the victim's weights. And it is told the number of steps.
    """
    found = [Row(attack=f"{name}:{v}") for name in ("lineup_likelihood", "read_identity") for v in attacks.attack(name).VARIANTS]
    found += [Row(attack=f"prior_sampling:{v}") for v in attacks.attack("prior_sampling").VARIANTS]
    found += [Row(attack="gradient_matching")]
    found += [Row(attack=f"guided_extraction:{variant}") for variant in ("plain", "w2", "w3", "w5")]
    found += [Row(attack=f"guided_extraction:{variant}", trigger_known=True) for variant in ("plain", "w3")]
    kinds: set[str] = set()
    for number, (name, model) in enumerate(models.items()):
        kind = model.config.encoder
        row = partial(Row, attack=f"network_autoencoder:{kind}", attacker="" if name == kind else name)
        found.append(row())
        if kind not in kinds and kind != "constant":  # which would say the same
            found.append(row(another=True))
            if model.config.with_step and len(model.steps) > 1:
                found.append(row(steps_known=True))
        kinds.add(kind)
        if not number:
            found.append(Row(attack="guided_extraction:embedded", attacker=name))
    return tuple(found)


def evaluate(
    base: Base, victims: list[Victim], rows: tuple[Row, ...], known: Scenario, config: PeopleConfig, out: Path, *,
    models: Mapping[str, Autoencoder] | None = None, effort: Effort = "quick", anyway: bool = False,
    command: str = "sfumato attack-weights evaluate", tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Attack every victim in every way that ``out`` lacks, and return the table. First of all the
    gate: below it nothing is attacked.

    Args:
        base: the base.
        victims: the private people.
        rows: what to try.
        known: what the attacker has beside any victim's file: base, public people, their adapters.
        models: trained attackers by the names that ``rows`` call them.
        config: of the people.
        out: where figures and pictures are kept.
        effort: of each attack.
        anyway: attack below the gate, too.
        command: noted as what makes the figures again.
        tell: progress.
    """
    path, models = out / "weights.json", models or {}
    identity = asdict(config) | {"effort": effort, "unet": base.unet_fingerprint, "version": __version__, "victims": _digest(victims)}
    settings = json.loads(json.dumps(identity))
    figures: dict[str, Any] = read_json(path, what="study") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != settings:
        raise UserError(f"{path}: a study of other settings, victims or another base", fix="choose another --out, or move that one away")
    _forget(figures, rows, models, known.get(PublicAdapters))
    judge = Judge(victims, config.each, config.seed)
    line_ups = {pool: line_up_of(base, shown.images) for pool, shown in judge.line_ups.items()}
    places = {row.label: spread(len(victims), row.most(effort)) for row in rows}

    def fill(label: str, draw: Callable[..., Any], number: int, victim: Victim) -> None:
        cells = figures["cells"].setdefault(label, {})
        if "hit" in cells.get(victim.name, {}):
            return
        tell(f"{label} on {victim.name}", number, len(victims))
        answer = draw(base, victim, known.having(line_ups[victim.pool]), config, effort, number)
        if isinstance(answer, Guess) and answer.scores is not None:
            cells[victim.name] = judge.named(answer.scores, victim) | {"seconds": answer.seconds, "budget": answer.budget}
        elif isinstance(answer, Guess) and answer.images is not None:
            cells[victim.name] = judge(answer.images, victim) | {"seconds": answer.seconds, "budget": answer.budget}
            pages.keep(out / "pictures" / f"{pages.named(label)}-{victim.name}.npy", answer.images)
        else:
            lacking = isinstance(answer, NoChannel)
            cells[victim.name] = {"outcome": "no channel" if lacking else "failed", "why": str(answer) if lacking else answer.cause}

    def over(wanted: list[tuple[str, Callable[..., Any]]]) -> dict[str, Any]:
        for number, victim in enumerate(victims):
            for label, draw in wanted:
                if number in places.get(label, range(len(victims))):
                    fill(label, draw, number, victim)
            write_json(path, figures)
        return table(figures["cells"], {victim.name: victim.pool for victim in victims}, judge.chance)

    found = over([(OWNER, _owner), (FLOOR, _floor)])
    if found["gate"]["passed"] or anyway:
        others = [victims[(k + 1) % len(victims)] for k in range(len(victims))]
        found = over([(row.label, partial(_attempt, row=row, models=models, others=others)) for row in rows])
    figures |= found
    figures |= {"command": command, "interval": "95 %, bootstrap over victims", "victims": {v.name: v.facts for v in victims}}
    write_json(path, figures)
    _sheet(figures, victims, out)
    return figures


def _digest(victims: list[Victim]) -> str:
    return sha256("".join(sha256(victim.file.read_bytes()) for victim in victims).encode())


def line_up_of(base: Base, images: np.ndarray) -> LineUp:
    """Pictures uint8 ``(M, K, H, W, 3)`` of M people, and their latents."""
    flat = fitted(images.reshape(-1, *images.shape[2:]), base)
    return LineUp(images, base.encode_pixels(flat).unflatten(0, images.shape[:2]))


def _forget(
    figures: dict[str, Any], rows: tuple[Row, ...], models: Mapping[str, Autoencoder], public: PublicAdapters | None = None
) -> None:
    """Drop what another attacker of the same name found, or one that learned from other public
    adapters."""
    runs = figures.setdefault("attackers", {})
    for row in rows:
        name, _, variant = row.attack.partition(":")
        model = models.get(row.attacker or variant)
        run = None if model is None else model.facts.get("run")
        if PublicAdapters in declared(attacks.attack(name)) and variant != "raw":
            run = None if public is None else public.run
        if runs.get(row.label, run) != run:
            figures["cells"].pop(row.label, None)
        runs[row.label] = run


def scenario(
    victim: Victim, known: Scenario, config: PeopleConfig, row: Row, models: Mapping[str, Autoencoder], another: Victim | None = None
) -> Scenario:
    """What the attacker has of one victim: the file, a usual recipe, the class; the steps and the
    trigger where a row says so; and the file of ``another`` for a control."""
    encoder = row.attack.partition(":")[2]
    model = models.get(row.attacker or encoder)
    if model is not None:
        known = known.having(Trained({model.config.encoder: model}))
    found = known.having(
        Published(formats.read(victim.file)), Class(CLASS_PROMPT), Recipe(config.lora, config.finetune, CLASS_PROMPT)
    )  # fmt: skip
    if row.steps_known:
        found = found.having(Steps(victim.facts["steps"]))
    if another is not None:
        found = found.having(Another(formats.read(another.file)))
    return found.having(Trigger(victim.facts["prompt"])) if row.trigger_known else found


def _attempt(
    base: Base,
    victim: Victim,
    known: Scenario,
    config: PeopleConfig,
    effort: Effort,
    number: int,
    *,
    row: Row,
    models: Mapping[str, Autoencoder],
    others: list[Victim],
) -> Any:
    given = scenario(victim, known, config, row, models, others[number] if row.another else None)
    return attacks.attempt(row.attack, given, effort=effort, seed=config.seed + number)


def _owner(base: Base, victim: Victim, known: Scenario, config: PeopleConfig, effort: Effort, number: int) -> Guess:
    with adapted(base, formats.read(victim.file)) as own:
        return Guess(images=drawn(own, victim.facts["prompt"], effort, config.seed + number))


def _floor(base: Base, victim: Victim, known: Scenario, config: PeopleConfig, effort: Effort, number: int) -> Guess:
    return Guess(images=drawn(base, victim.facts["prompt"], effort, config.seed + number))


def drawn(base: Base, prompt: str, effort: Effort, seed: int) -> np.ndarray:
    """What ``base`` draws for ``prompt``, as many pictures as any guess has."""
    return pictures(base, [prompt] * PICTURES[effort], steps=STEPS[effort], guidance=GUIDANCE, seed=seed, tell=lambda done, total: None)


def _sheet(figures: dict[str, Any], victims: list[Victim], out: Path, *, count: int = 10) -> None:
    """Private pictures, the owner's own samples, and each picture-making attack's best guess,
    person by person: of those on whom all were tried."""
    order = sorted(figures["attacks"], key=lambda label: -figures["attacks"][label].get("top1", -1.0))
    order = [label for label in order if not label.startswith(LINE_UP)]
    labels = [label for label in (OWNER, FLOOR, *order) if any("hit" in cell for cell in figures["cells"][label].values())]
    tried = [v for v in victims if all("hit" in figures["cells"][label].get(v.name, {}) for label in labels)] or victims
    shown = [tried[i] for i in sorted(spread(len(tried), count))]
    rows = [("private", np.stack([victim.pictures.images[0] for victim in shown]))]
    for label in labels:
        paths = [out / "pictures" / f"{pages.named(label)}-{victim.name}.npy" for victim in shown]
        blank = np.full_like(shown[0].pictures.images[0], 255)  # where an attack failed or was not tried
        rows.append((label, np.stack([np.load(path)[0] if path.exists() else blank for path in paths])))
    write_atomic(out / "weights.png", pages.png(pages.contact_sheet(rows)))
    danger = sorted(figures["attacks"].items(), key=lambda item: -(item[1].get("top1") or -1.0))
    values = {
        **figures, "attacks": dict(danger), "strips": pages.strips(rows), "verdict": _verdict(figures).as_json(), "version": __version__,
    }  # fmt: skip
    pages.write_page(out / "weights.html", "weights.html", values)


def _verdict(figures: dict[str, Any]) -> Verdict:
    """Whether any attack read people out of files; below the gate a failed attack says nothing."""
    scored = {name: row for name, row in figures["attacks"].items() if row["outcome"] == "scored"}
    found = [name for name, row in scored.items() if row.get("verdict") == "effective"]
    gate, commands = figures["gate"], ("sfumato attack-weights run LORA.safetensors",)
    notes = () if gate["passed"] else (f"The gate is not passed ({gate['asked']}): a failed attack says nothing here",)
    if found:
        best = max(found, key=lambda name: scored[name]["top1"])
        headline = f"People can be read out of the files: {best} names {scored[best]['top1']:.0%} of them, chance {figures['chance']:.1%}."
        return Verdict("failed", headline, notes, commands)
    return Verdict("open", "No attack here got more than the base alone. That is no guarantee.", notes, commands)
