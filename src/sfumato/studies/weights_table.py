"""What a shared LoRA gives away of who was fine-tuned on: every attack on the same victims, beside what the owner and anybody can draw.

Gate: the owner's own pictures, drawn with the trigger, must lead to the right person in at least a quarter of the cases among
200, while the same prompt on the undamaged base does in at most one of twenty. Below that nothing was learned that could leak, and a failed
attack says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfumato import __version__
from sfumato.adapters import formats
from sfumato.attacker.attempt import Effort, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights._autoencoder import Autoencoder
from sfumato.attacker.weights._sampling import PICTURES, STEPS, adapted, pictures
from sfumato.attacker.weights.base import Class, Guess, Published, Recipe, Steps, Trigger
from sfumato.attacker.weights.network_autoencoder import Trained
from sfumato.core.artifact import read_json, write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base
from sfumato.features.colour import colour_histogram
from sfumato.features.efficientnet import features
from sfumato.features.identity import judges
from sfumato.judge.metrics import guesses, significance
from sfumato.judge.metrics.identity import MINIMUM, Gallery
from sfumato.judge.metrics.probes import Probes, fit_probes
from sfumato.judge.metrics.recovery import feature_distance
from sfumato.judge.report import pages
from sfumato.pictures import store
from sfumato.studies import lora_people
from sfumato.studies.lora_people import CLASS_PROMPT, PeopleConfig, Victim

OWNER, FLOOR = "the owner, with the trigger", "the same prompt on the base"
CEILING_AT_LEAST, FLOOR_AT_MOST = 0.25, 0.05
ATTRIBUTES = ("skin", "hair")
GUIDANCE = 3.0
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table: an attack, what it is told beside the file, and the trained attacker that it uses, where there are several."""

    attack: str
    attacker: str = ""
    steps_known: bool = False
    trigger_known: bool = False

    @property
    def label(self) -> str:
        """How the table calls it."""
        told = [word for word, known in (("steps known", self.steps_known), ("trigger known", self.trigger_known)) if known]
        return ", ".join([self.attack, *([self.attacker] if self.attacker else []), *told])


def all_rows(models: Mapping[str, Autoencoder]) -> tuple[Row, ...]:
    """Every attack on pictures, with and without what may have leaked beside the file; ``models`` are trained attackers by any name."""
    found = [Row(attack=f"prior_sampling:{v}") for v in attacks.attack("prior_sampling").VARIANTS]
    found += [Row(attack="gradient_matching")]
    for variant in ("plain", "w2", "w3", "w5"):
        found += [Row(attack=f"guided_extraction:{variant}", trigger_known=known) for known in (False, True)]
    for name, model in models.items():
        found.append(Row(attack="guided_extraction:embedded", attacker=name))
        attacker = "" if name == model.config.encoder else name
        found += [
            Row(attack=f"network_autoencoder:{model.config.encoder}", attacker=attacker, steps_known=known) for known in (False, True)
        ]
    return tuple(found)


class Judge:
    """Scores pictures of one person: who is recognised, how alike, and whether a private picture was copied."""

    def __init__(self, victims: list[Victim], each: int, seed: int) -> None:
        others = [(victim.pictures.images[each:], victim.pictures.identities[each:]) for victim in victims]
        images, names = np.concatenate([i for i, _ in others]), [name for _, several in others for name in several]
        missing = max(0, MINIMUM - len(set(names)))
        if missing:
            more = store.distinct(lora_people.STYLE, "held_out", missing, each, seed=seed, purpose="lora gallery")
            images, names = np.concatenate([images, more.images]), names + [f"stranger {key}" for key in more.identities]
        images, index = np.unique(images, axis=0, return_index=True)
        self.gallery = Gallery.of(images, [names[i] for i in index])
        public = store.load(lora_people.STYLE, "public", 1200, seed=seed + 3)
        self.probes: Probes = fit_probes(_seen(public.images), public.attributes, list(ATTRIBUTES))

    def __call__(self, images: np.ndarray, victim: Victim, each: int) -> dict[str, Any]:
        """Of pictures uint8 ``(K, H, W, 3)``, taken together: one answer."""
        person = victim.pictures.identities[0]
        probe = judges().embed(images).mean(axis=0, keepdims=True)
        hit, rank = self.gallery.reidentify(probe, [person])
        own = self.gallery.similarities(probe)[0, self.gallery.identities.index(person)]
        private, other = victim.pictures.images[:each], victim.pictures.images[each:]
        found = features(images, size=128)
        near, usual = (_distances(found, features(real, size=128)).min(axis=1).mean() for real in (private, other))
        said = {name: self.probes.predict(_seen(images), name) for name in ATTRIBUTES}
        right = {name: float(np.mean(said[name] == victim.pictures.attributes[0][name])) for name in ATTRIBUTES}
        return {"hit": bool(hit[0]), "rank": int(rank[0]), "identity": float(own), "nearest private": float(near),
                "nearest other": float(usual), **right}  # fmt: skip


def _seen(images: np.ndarray) -> np.ndarray:
    return np.hstack([features(images, size=128), colour_histogram(images)])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """EffLite0 distances ``(K, M)`` of pictures with features ``(K, D)`` and ``(M, D)``."""
    return feature_distance(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))).reshape(len(a), len(b))


def evaluate(
    base: Base, victims: list[Victim], rows: tuple[Row, ...], known: Scenario, config: PeopleConfig, out: Path, *,
    models: Mapping[str, Autoencoder] | None = None, effort: Effort = "quick",
    command: str = "sfumato attack-weights evaluate", tell: Tell = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Attack every victim in every way that ``out`` lacks, and return the table.

    Args:
        base: the base.
        victims: the private people.
        rows: what to try.
        known: what the attacker has beside any victim's file: base, public people.
        models: trained attackers by the names that ``rows`` call them.
        config: of the people.
        out: where figures and pictures are kept.
        effort: of each attack.
        command: noted as what makes the figures again.
        tell: progress.
    """
    path = out / "weights.json"
    settings = json.loads(json.dumps(asdict(config) | {"effort": effort, "unet": base.unet_fingerprint, "version": __version__}))
    figures: dict[str, Any] = read_json(path, what="study") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != settings:
        raise UserError(f"{path}: a study of other settings or another base", fix="choose another --out, or move that one away")
    judge = Judge(victims, config.each, config.seed)
    wanted: list[tuple[str, Callable[..., Any]]] = [(OWNER, _owner), (FLOOR, _floor)]
    wanted += [(row.label, partial(_attempt, row=row, models=models or {})) for row in rows]
    for number, victim in enumerate(victims):
        for label, draw in wanted:
            cells = figures["cells"].setdefault(label, {})
            if victim.name in cells:
                continue
            tell(f"{label} on {victim.name}", number, len(victims))
            answer = draw(base, victim, known, config, effort, number)
            if isinstance(answer, Guess) and answer.images is not None:
                cells[victim.name] = judge(answer.images, victim, config.each) | {"seconds": answer.seconds}
                pages.keep(out / "pictures" / f"{pages.named(label)}-{victim.name}.npy", answer.images, count=1)
            else:
                lacking = isinstance(answer, NoChannel)
                cells[victim.name] = {"outcome": "no channel" if lacking else "failed", "why": str(answer) if lacking else answer.cause}
        write_json(path, figures)
    figures |= table(figures["cells"], [victim.name for victim in victims], judge.gallery.chance)
    figures |= {"command": command, "interval": "95 %, bootstrap over victims", "victims": {v.name: v.facts for v in victims}}
    write_json(path, figures)
    _sheet(figures, victims, out)
    return figures


def scenario(victim: Victim, known: Scenario, config: PeopleConfig, row: Row, models: Mapping[str, Autoencoder]) -> Scenario:
    """What the attacker has of one victim: the file, a usual recipe, the class; the steps and the trigger where a row says so."""
    encoder = row.attack.partition(":")[2]
    model = models.get(row.attacker or encoder)
    if model is not None:
        known = known.having(Trained({model.config.encoder: model}))
    found = known.having(
        Published(formats.read(victim.file)), Class(CLASS_PROMPT), Recipe(config.lora, config.finetune, CLASS_PROMPT)
    )  # fmt: skip
    if row.steps_known:
        found = found.having(Steps(victim.facts["steps"]))
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
) -> Any:
    return attacks.attempt(row.attack, scenario(victim, known, config, row, models), effort=effort, seed=config.seed + number)


def _owner(base: Base, victim: Victim, known: Scenario, config: PeopleConfig, effort: Effort, number: int) -> Guess:
    with adapted(base, formats.read(victim.file)) as own:
        return Guess(images=_drawn(own, victim.facts["prompt"], effort, config.seed + number))


def _floor(base: Base, victim: Victim, known: Scenario, config: PeopleConfig, effort: Effort, number: int) -> Guess:
    return Guess(images=_drawn(base, victim.facts["prompt"], effort, config.seed + number))


def _drawn(base: Base, prompt: str, effort: Effort, seed: int) -> np.ndarray:
    return pictures(base, [prompt] * PICTURES[effort], steps=STEPS[effort], guidance=GUIDANCE, seed=seed, tell=lambda done, total: None)


def table(cells: dict[str, dict[str, Any]], names: list[str], chance: float) -> dict[str, Any]:
    """By attack: top-1 with its interval, paired with the same prompt on the base, verdicts corrected over all; and the gate."""
    tests: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    floor = cells[FLOOR]
    for label, kept in cells.items():
        scored = [name for name in names if "hit" in kept.get(name, {})]
        if len(scored) < 2:
            why = sorted({cell.get("why", "") for cell in kept.values()})
            outcomes = [str(cell["outcome"]) for cell in kept.values() if "outcome" in cell]
            rows[label] = {"outcome": outcomes[0] if outcomes else "not run", "why": "; ".join(why), "n": len(scored)}
            continue
        hits, prior = (np.array([side[name]["hit"] for name in scored], float) for side in (kept, floor))
        found = significance.compare(hits, prior, generator=np.random.default_rng(0))
        rows[label] = {
            "outcome": "scored", "top1": found.mean, "low": found.low, "high": found.high, "n": found.n, "floor": found.baseline,
            "difference": [found.difference, found.difference_low, found.difference_high], "p": found.p,
            "seconds": float(np.mean([kept[name]["seconds"] for name in scored])),
            **{key: _mean([kept[name][from_] for name in scored]) for key, from_ in MEASURED.items()},
        }  # fmt: skip
        if label not in (OWNER, FLOOR):
            tests[label] = {
                "score": found.mean, "low": found.low, "high": found.high, "prior_only": found.baseline, "p": found.p, "n": found.n,
                "people": found.clusters, "target": "person", "difference": rows[label]["difference"],
            }  # fmt: skip
    for label, verdict in (guesses.judged(tests) if tests else {}).items():
        rows[label] |= {"verdict": verdict["verdict"], "effective": verdict["effective"], "adjusted_p": verdict["adjusted_p"]}
    owner, base = rows.pop(OWNER), rows.pop(FLOOR)
    passed = owner.get("top1", 0.0) >= CEILING_AT_LEAST and base.get("top1", 1.0) <= FLOOR_AT_MOST
    return {"attacks": rows, "owner": owner, "floor": base, "chance": chance, "gate": {"passed": passed, "asked": GATE}}


MEASURED = {
    "identity_similarity": "identity", "nearest_private": "nearest private", "nearest_other": "nearest other", **{a: a for a in ATTRIBUTES},
}  # fmt: skip
GATE = f"owner's top-1 at least {CEILING_AT_LEAST}, the same prompt on the base at most {FLOOR_AT_MOST}"


def _mean(values: list[float]) -> dict[str, float]:
    """Mean with a 95 % bootstrap interval over victims."""
    array, draws = np.array(values, float), np.random.default_rng(0)
    means = array[draws.integers(len(array), size=(2000, len(array)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(array.mean()), "low": float(low), "high": float(high), "n": len(array)}


def _sheet(figures: dict[str, Any], victims: list[Victim], out: Path, *, count: int = 10) -> None:
    """Private pictures, the owner's own samples, and each attack's best guess, person by person."""
    shown = victims[:: max(1, len(victims) // count)][:count]
    order = sorted(figures["attacks"], key=lambda label: -figures["attacks"][label].get("top1", -1.0))
    rows = [("private", np.stack([victim.pictures.images[0] for victim in shown]))]
    for label in (OWNER, FLOOR, *order):
        paths = [out / "pictures" / f"{pages.named(label)}-{victim.name}.npy" for victim in shown]
        if all(path.exists() for path in paths):
            rows.append((label, np.concatenate([np.load(path) for path in paths])))
    sheet = pages.contact_sheet(rows)
    write_atomic(out / "weights.png", pages.png(sheet))
    pages.write_page(out / "weights.html", "weights.html", {**figures, "sheet": pages.data_url(sheet), "version": __version__})
