"""Every attack on every scheme: what an attacker gets, beside what anybody could have guessed.

A cell is an attack on what a scheme leaks of the private pools, attacked together (attackers learn on public people alone) and scored
apart. Cells are kept as they are found, so that a run that was killed goes on.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sfumato import __version__
from sfumato.attacker.attempt import Effort, Failed, NoChannel
from sfumato.attacker.knowledge import Candidates, Conditions, Latents, People, Public, Scenario, Trained
from sfumato.attacker.records import base as attacks
from sfumato.attacker.records.base import Guess
from sfumato.core import registry
from sfumato.core.artifact import read_json, write_json
from sfumato.core.device import choose_precision
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.features.efficientnet import features
from sfumato.features.identity import half
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.guesses import Prior, Truth
from sfumato.judge.metrics.probes import Probes, fit_probes
from sfumato.judge.report import matrix as report
from sfumato.judge.report import pages
from sfumato.pictures import store
from sfumato.pictures.store import PictureSet
from sfumato.records.reader import Records
from sfumato.server import derive
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train
from sfumato.studies import leaks, spec

STYLE = "open-peeps"
SERVER_STEPS: dict[Effort, int] = {"quick": 200, "full": 1000}
ATTRIBUTES = ("skin", "hair")
POOLS = ("recombined", "unseen_part")
LINKED = 500  # candidates that are held as something like the picture
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixConfig:
    """The size of a matrix: ``people`` private people of each pool with ``each`` pictures to be attacked and as many others in the
    gallery; ``public`` people of the attacker's with ``public_each`` pictures. ``records``: at least so many for every attack, whatever
    it takes of itself."""

    schemes: tuple[str, ...] = ("centralised", "fedavg", "split", "oneway", "oneway-withheld", "sealed", "sealed-derived")
    attacks: tuple[str, ...] = ()
    pools: tuple[str, ...] = POOLS
    effort: Effort = "quick"
    people: int = 200
    each: int = 5
    public: int = 300
    public_each: int = 8
    records: int = 0
    condition: str = "canny"
    seed: int = 0

    def __post_init__(self) -> None:
        for chosen, known, what in (
            (self.schemes, leaks.known(), "scheme"),
            (self.attacks, attacks.rows(), "attack"),
            (self.pools, POOLS, "pool"),
        ):
            unknown = [name for name in chosen if (spec.name_of(name) if what == "scheme" else name) not in known]
            if unknown:
                raise UserError(f"unknown {what} {unknown[0]!r}", expected=f"some of {', '.join(known)}")


def run(
    config: MatrixConfig, out: Path, *, command: str = "sfumato attack --matrix", tell: Tell = lambda what, done, total: None
) -> dict[str, Any]:
    """Attack what ``out`` lacks and return the whole matrix. ``command`` is noted as what makes it again."""
    base = load_base()
    path = out / "matrix.json"
    varying = ("schemes", "attacks")
    identity = {name: value for name, value in asdict(config).items() if name not in varying}
    settings = json.loads(json.dumps(identity | {"unet": base.unet_fingerprint, "version": __version__}))
    figures: dict[str, Any] = read_json(path, what="matrix") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != settings:
        raise UserError(f"{path}: a matrix of other settings or another base", fix="choose another --out, or move that one away")
    out.mkdir(parents=True, exist_ok=True)
    rows = config.attacks or tuple(attacks.rows())
    wanted = [(scheme, row) for scheme in config.schemes for row in rows if f"{scheme}/{row}" not in figures["cells"]]
    if wanted or "ceiling" not in figures:
        public = attackers(base, config.public, config.public_each, condition=config.condition, seed=config.seed, tell=tell)
        private, truths, priors, more = victims(base, public, config, tell)
        decoded = Guess(z_0=private.z_0, c=private.c)  # what even the true latents give away: the VAE lost the rest
        figures["ceiling"] = cell(decoded, truths, priors, base, condition=config.condition, seed=config.seed)["pools"]
        pages.keep(out / "pictures" / "truth.npy", private.images)
    prepared: dict[str, Scenario] = {}
    for scheme, row in wanted:
        if scheme not in prepared:
            known, options = spec.parse(scheme)
            prepared = {scheme: leaks.scenario(known, private, base, public, seed=config.seed, **options).having(*more)}
            figures.setdefault("leaks", {})[scheme] = prepared[scheme].leaked()
        answer, prepared[scheme] = attack(
            prepared[scheme], row, base, out / "work", condition=config.condition, effort=config.effort, seed=config.seed,
            records=config.records, tell=partial(tell, f"{row} on {scheme}"),
        )  # fmt: skip
        found = figures["cells"][f"{scheme}/{row}"] = cell(answer, truths, priors, base, condition=config.condition, seed=config.seed)
        if isinstance(answer, Guess) and found["outcome"] == "scored":
            show(answer, base, out / "pictures" / f"{pages.named(f'{scheme}-{row}')}.npy")
        write_json(path, figures)
    figures["matrix"] = matrix(figures["cells"])
    figures |= {"command": command, "interval": "95 %, bootstrap over people", "correction": "Holm, over every test in the matrix"}
    write_json(path, figures)
    report.write(out, figures)
    return figures


def attack(
    scenario: Scenario, row: str, base: Base, work: Path, *, condition: str, effort: Effort, seed: int, records: int = 0,
    tell: Callable[[int, int], None],
) -> tuple[Guess | NoChannel | Failed, Scenario]:  # fmt: skip
    """One attack on as many of the records as it can afford, or as ``records`` says at least, and what is known after it.

    What the server makes of the records, its ControlNet, is made (in ``work``, which is removed) when an attack lacks nothing else.
    """
    trying = partial(attacks.attempt, row, effort=effort, seed=seed, tell=tell)
    count = max(records, attacks.attack(row.partition(":")[0]).COUNT[effort])
    answer = trying(scenario.rows(count))
    if isinstance(answer, NoChannel) and answer.missing == (Trained,):
        scenario = scenario.having(*server_trains(scenario, base, work, condition=condition, effort=effort, seed=seed))
        answer = trying(scenario.rows(count))
    return answer, scenario


def server_trains(scenario: Scenario, base: Base, work: Path, *, condition: str, effort: Effort, seed: int) -> list[Trained]:
    """The ControlNet that a server trains from one release of latents and conditions; nothing where a scheme gives it no such pairs."""
    latents, conditions = scenario.get(Latents), scenario.get(Conditions)
    if latents is None or conditions is None or len(latents.z) != 1:
        return []
    records = Records(latents.z[0], conditions.c[0], latents.n[0], conditions.m[0], (), (), condition)
    shutil.rmtree(work, ignore_errors=True)
    settings = TrainConfig(steps=SERVER_STEPS[effort], seed=seed, held_out=0, precision=choose_precision())
    controlnet, found = load_latent_controlnet(train(records, base, work / "controlnet", settings), device=base.unet.device)
    shutil.rmtree(work, ignore_errors=True)
    return [Trained(controlnet, found)]


def show(answer: Guess, base: Base, path: Path) -> None:
    """Keep the first pictures of a guess, or conditions where it has none, for the report."""
    latents = answer.c if answer.z_0 is None else answer.z_0
    if answer.images is not None:
        pages.keep(path, answer.images)
    elif latents is not None:
        pages.keep(path, base.decode_pixels(latents[:10]))


def cell(
    answer: Guess | NoChannel | Failed, truths: dict[str, Truth], priors: dict[str, Prior], base: Base, *, condition: str | None, seed: int
) -> dict[str, Any]:
    """One answer as JSON: by pool its targets' scores, or why there are none. Row i of a guess is of pool i modulo the number of pools."""
    if isinstance(answer, NoChannel):
        return {"outcome": "no channel", "why": str(answer)}
    if isinstance(answer, Failed):
        return {"outcome": "failed", "why": answer.cause}
    pools: dict[str, Any] = {}
    for number, pool in enumerate(truths):
        own = answer.take(list(range(number, len(answer), len(truths))))
        try:
            pools[pool] = guesses.score(own, truths[pool], priors[pool], base, condition=condition, seed=seed)
        except UserError as error:
            return {"outcome": "failed", "why": str(error)}
    return {"outcome": "scored", "pools": pools, "budget": answer.budget, "curve": answer.curve, "seconds": answer.seconds}


def matrix(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By scheme and attack what came out, its verdicts corrected over every test in the matrix.

    An attack with several variants shows the one that got most, and each of them under ``variants``; what is beside ``pools`` is of the
    pool in which it got most.
    """
    tests = {
        f"{name}|{pool}|{target}": {**found, "target": target}
        for name, kept in cells.items() for pool, targets in kept.get("pools", {}).items() for target, found in targets.items()
    }  # fmt: skip
    verdicts = guesses.judged(tests) if tests else {}
    table: dict[str, dict[str, Any]] = {}
    for name, kept in cells.items():
        scheme, row = name.split("/", 1)
        attack, _, variant = row.partition(":")
        entry: dict[str, Any] = {"outcome": kept["outcome"], "why": kept.get("why", ""), "seconds": kept.get("seconds", 0.0), "pools": {}}
        for pool, targets in kept.get("pools", {}).items():
            judged = {target: verdicts[f"{name}|{pool}|{target}"] for target in targets}
            first = next(target for target in attacks.attack(attack).TARGETS if target in judged)
            effective = any(found["effective"] for found in judged.values())
            entry["pools"][pool] = {**judged[first], "effective": effective, "targets": judged}
        if entry["pools"]:
            best = max(entry["pools"], key=lambda pool: _gain(entry["pools"][pool]))
            entry = {**entry["pools"][best], **entry}
        known = table.setdefault(scheme, {})
        several = {**known.get(attack, {}).get("variants", {}), variant: entry}
        most = max(several.values(), key=lambda one: (one["outcome"] == "scored", one["outcome"] == "failed", *_gain(one)))
        known[attack] = {**most, "variants": several} if variant else most
    return table


def _gain(entry: dict[str, Any]) -> tuple[bool, float]:
    return bool(entry.get("effective")), float(entry.get("score", 0.0))


def attackers(base: Base, people: int, each: int, *, condition: str, seed: int, tell: Tell = lambda what, done, total: None) -> Public:
    """What attackers train on: public people of the half that the judge's head never saw."""
    tell("drawing the attackers' public people", 0, 0)
    drawn = store.distinct(STYLE, "public", people, each, seed=seed, purpose="attackers", keep=lambda key: half(key) == 1)
    z_0, c = latents_of(base, drawn.images, condition)
    return Public(drawn.images, z_0, c, drawn.identities, drawn.captions)


def victims(
    base: Base, public: Public, config: MatrixConfig, tell: Tell = lambda what, done, total: None
) -> tuple[leaks.Private, dict[str, Truth], dict[str, Prior], list[object]]:
    """Private people of all pools: what owners hold, by pool what is true of it and what the prior alone guesses, and the candidates.

    Rows are interleaved: pool after pool, one picture of each person after another, so that the first records show different people.
    """
    parts: list[tuple[PictureSet, np.ndarray]] = []
    truths: dict[str, Truth] = {}
    priors = dict.fromkeys(config.pools, prior(base, public, config.people * config.each, condition=config.condition, seed=config.seed))
    probes = _probes(config.seed)
    for place, pool in enumerate(config.pools):
        tell(f"drawing private people, {pool}", 0, 0)
        drawn = store.distinct(STYLE, pool, config.people, 2 * config.each, seed=config.seed, purpose="victims")  # type: ignore[arg-type]
        number = np.arange(len(drawn)).reshape(config.people, 2 * config.each)
        rows, others = number[:, : config.each].T.ravel(), number[:, config.each :].ravel()
        images, people = drawn.images[rows], [drawn.identities[i] for i in rows]
        gallery = drawn.images[others], [drawn.identities[i] for i in others]
        where = place + len(config.pools) * np.arange(len(rows))
        truths[pool] = Truth(
            images, edges_of(images, config.condition), [drawn.captions[i] for i in rows], people, where, gallery,
            attributes=(probes, [drawn.attributes[i] for i in rows]),
        )  # fmt: skip
        parts.append((drawn, np.stack([rows, number[:, config.each :].T.ravel()], axis=1)))
    order = [(drawn, *pair) for several in zip(*(rows for _, rows in parts), strict=True)
             for (drawn, _), pair in zip(parts, several, strict=True)]  # fmt: skip
    images, people = np.stack([drawn.images[i] for drawn, i, _ in order]), [drawn.identities[i] for drawn, i, _ in order]
    z_0, c = latents_of(base, images, config.condition)
    another = np.stack([drawn.images[k] for drawn, _, k in order[:LINKED]])
    like = copies(images[:LINKED], base, config.condition) | {"another": partial(latents_of, base, another, config.condition)}
    private = leaks.Private(images, z_0, c, [drawn.captions[i] for drawn, i, _ in order], people)
    truths = {pool: replace(truth, latents=(z_0[truth.candidates], c[truth.candidates])) for pool, truth in truths.items()}
    names = {person: k for k, person in enumerate(dict.fromkeys(people))}
    return private, truths, priors, [Candidates(z_0, c, like), People(torch.tensor([names[person] for person in people]))]


def copies(images: np.ndarray, base: Base, condition: str) -> dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]]:
    """What somebody may hold in place of pictures uint8 ``(N, H, W, 3)``, as ``latents_of`` when asked: JPEGs, or crops."""

    def like(change: Callable[[Image.Image], Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        return latents_of(base, np.stack([np.asarray(change(Image.fromarray(image))) for image in images]), condition)

    return {"jpeg": partial(like, _jpeg), "cropped": partial(like, _cropped)}


def _jpeg(image: Image.Image) -> Image.Image:
    """Of quality 75."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer)


def _cropped(image: Image.Image) -> Image.Image:
    """The middle nine tenths, enlarged."""
    width, height = image.size
    box = (width // 20, height // 20, width - width // 20, height - height // 20)
    return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)


def prior(base: Base, public: Public, count: int, *, condition: str, seed: int, drawn: int = 200) -> Prior:
    """Guesses without a record: ``drawn`` samples of the base, used again and again, and the mean public latent, decoded."""
    several = min(count, drawn)
    images = base.decode_pixels(derive.from_nothing(base, several, condition=condition, seed=seed, steps=15).z_n)
    again = np.resize(np.arange(several), count)
    return Prior(images[again], base.decode_pixels(public.z_0.mean(0, keepdim=True)).repeat(count, axis=0))


def _probes(seed: int, *, count: int = 1200) -> Probes:
    """Of skin and hair, fitted on the judge's own public pictures."""
    known = store.load(STYLE, "public", count, seed=seed + 3)
    return fit_probes(guesses.described(known.images, features(known.images, size=128)), known.attributes, list(ATTRIBUTES))


def latents_of(base: Base, images: np.ndarray, condition: str) -> tuple[torch.Tensor, torch.Tensor]:
    """``z_0`` and ``c`` ``(N, 4, h, w)`` of pictures uint8 ``(N, H, W, 3)``."""
    extract = registry.get("conditions", condition).extract
    return base.encode_pixels(images), base.encode_pixels(np.stack([extract(image) for image in images]))
