"""What an attacker gets from an owner's own records, before anybody else has them.

The owner holds the pictures, so every guess can be scored: each record finds its picture first, by
the owner's private ledger or, where that does not hold it, by likelihood. The attackers are given
what a server would be given, and public pictures of other people; they never see the truth, nor
which record is which picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.attacker import attempt as attempts
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Conditions, Latents, Mechanism, People, Public, Scenario, Trained
from sfumato.attacker.records import base as attacks
from sfumato.core.artifact import read_json, sha256, write_atomic, write_json
from sfumato.core.device import autocast, choose_device, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.private import private
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.judge import gates, verdict
from sfumato.judge.report import pages, words
from sfumato.owner import whose
from sfumato.owner.picture_file import CROP, Crop
from sfumato.records import manifest as manifests
from sfumato.records import privacy, reader
from sfumato.records.reader import Records
from sfumato.records.record import SealSettings
from sfumato.studies.records import audit_folder, cell, matrix, pace, people, public_kind, scenarios, side_by_side
from sfumato.studies.records.audit_folder import FIGURES
from sfumato.studies.records.audited import AUDITED, Audited, Pictures, Silent, audited, candidates, extractable, truth_of
from sfumato.studies.records.turns import Turns

SCHEME = "records"
DRAWN: dict[Effort, int] = {"glance": 32, "quick": 128, "full": 200}  # samples of the base that stand for a guess without records
PUBLIC: dict[Effort, tuple[int, int]] = {"glance": (60, 4), "quick": (300, 6)}  # invented people at most, and pictures of each
GIVEN = 4000  # pictures of a public folder at most


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    """How hard records are attacked.

    Attributes:
        attacks: rows of ``attacks.rows()``; empty for all.
        effort: of each attack.
        base: that the records were sealed for.
        public: a folder of other people's pictures of the same kind; None for invented people,
            which suit the tiny base.
        controlnet: what the server has trained from the records; None: one is trained here, as a
            server would.
        people, each: how many invented public people, and pictures of each.
        seed: of everything that attackers draw.
        crop: of pictures that are no squares, as ``seal`` was told; None: as this machine keeps it
            of the release.
        jobs: attacks at a time, in processes of their own; 0 for one a thread of torch, where processes
            can be forked. Figures are the same to the precision of sums.
    """

    attacks: tuple[str, ...] = ()
    effort: Effort = "quick"
    base: str = "tiny"
    public: Path | None = None
    controlnet: Path | None = None
    people: int = 300
    each: int = 8
    seed: int = 0
    crop: Crop | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.jobs < 0:
            raise UserError(f"--jobs {self.jobs}", expected="1 or more, or 0 for one a core")


def run(
    folder: Path, truth_folder: Path, out: Path, config: AuditConfig, *,
    asked: dict[str, dict[str, Any]], gates_from: str = "", command: str = "sfumato attack", say: Callable[[str], None] = lambda text: None,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Attack the records in ``folder``, score against ``truth_folder``, check the gates ``asked``;
    goes on where ``out`` stopped.

    ``gates_from`` says on the page where ``asked`` stands. ``say`` is told beforehand how long each
    attack will take. Whatever an attack does, the others go on and the page is written. ``out`` is
    made private: it holds true pictures.

    Raises:
        UserError: records that cannot be believed or are not of these pictures, settings that do
            not fit what ``out`` holds, or an ``out`` from which pictures would get away.
    """
    audit_folder.check(out, folder, truth_folder)
    manifest = manifests.read(folder)
    config = replace(config, crop=(crop := whose.crop_of(manifest.release, config.crop)))
    if config.public is None:  # said before any work
        check_public(config.base, manifest.settings)
    base = load_base(config.base, device=choose_device())
    records = reader.load([folder], codec=base, audit=True)
    settings = records.manifests[0].settings
    tell("finding the records among the pictures", 0, 0)
    pictures = Pictures.of(truth_folder, size=base.size, condition=settings.condition, crop=crop)
    found = audited(records, pictures, base, most=AUDITED[config.effort], seed=config.seed)
    figures = _known(out, records, found, base, config)
    with private(out):
        figures["gates_from"] = gates_from or gates.place()
        return _run(records, found, figures, out, config, asked=asked, command=command, say=say, tell=tell)


def _run(
    records: Records, found: Audited, figures: dict[str, Any], out: Path, config: AuditConfig, *,
    asked: dict[str, dict[str, Any]], command: str, say: Callable[[str], None], tell: TellOf,
) -> dict[str, Any]:  # fmt: skip
    base, settings = found.base, records.manifests[0].settings
    condition = extractable(settings.condition)
    truth, held, silent = truth_of(found, seed=config.seed)
    rows = list(config.attacks or attacks.rows())
    todo = [row for row in rows if f"{SCHEME}/{row}" not in figures["cells"]]
    for row in todo.copy():
        if why := not_run(row, config.effort, silent):
            figures["cells"][f"{SCHEME}/{row}"] = why
            todo.remove(row)
    public = _public(base, settings, config, tell)
    scenario = _scenario(found, held, base, public, config)
    idle = ("own_controlnet",) if settings.derived else ()  # what asks for conditions only when it runs
    busy = [row for row in todo if row.partition(":")[0] not in idle and not scenario.lacks(_needs(row))]
    jobs = config.jobs or side_by_side.possible(base.unet.device)
    for line in pace.plan(busy, config.effort, len(found.own), base, jobs=jobs):
        say(line)
    scored: dict[str, Any] = {}
    if todo or "ceiling" not in figures:
        tell("drawing what anybody could guess", 0, 0)
        prior = people.prior(base, public, len(found.own), seed=config.seed, drawn=DRAWN[config.effort])
        scored = {"truths": {SCHEME: truth}, "priors": {SCHEME: prior}, "base": base, "condition": condition, "seed": config.seed}
    if "ceiling" not in figures:
        tell("scoring your own pictures, decoded", 0, 0)
        assert truth.latents is not None
        decoded = cell.score(attacks.Guess(z_0=truth.latents[0], c=truth.latents[1]), **scored)
        figures["ceiling"] = decoded.get("pools", {}).get(SCHEME, {})
    turns = Turns(
        scenario=scenario, base=base, out=out, condition=settings.condition, effort=config.effort, seed=config.seed,
        count=len(found.own), scored=scored, rows=todo, busy=busy, tell=tell if jobs == 1 else lambda what, done, total: None,
    )  # fmt: skip
    left, granted, done = scenario.leaked(), set(scenario.kinds()), 0
    for unit, came in side_by_side.each(turns.units(jobs), turns.take, jobs):
        figures["cells"] |= {f"{SCHEME}/{row}": scores for row, scores in came.cells.items()}
        left |= came.leaked
        granted |= came.kinds
        write_json(out / FIGURES, figures)
        done += len(unit)
        if jobs > 1:
            tell(f"{len(todo)} attacks, {jobs} at a time", done, len(todo))
    pages.keep(out / "pictures" / "truth.npy", truth.images)
    pages.keep(out / "pictures" / "seen.npy", base.decode_pixels(found.records.z_n[:10]))
    figures["cells"] = dict(sorted(figures["cells"].items()))  # as the file has them, after a first run and after others
    table = matrix.table(figures["cells"]).get(SCHEME, {})
    left = {name: max(count, _releases(records)) for name, count in left.items()}
    after = {name: attacks.attack(name).TARGETS for name in attacks.names()}
    checked = gates.check(asked, table, left, every=after, unread=records.refused, unasked=silent.unasked)
    if weak := public_kind.weak(truth.latents[0] if truth.latents else None, public.z_0):
        checked.append(gates.Gate("public", None, weak, "the attackers know enough public pictures, of the kind that yours are"))
    standing = records.manifests[0].standing
    summed = verdict.of(
        checked, table, settings, asked=asked, effort=config.effort, every=after, last=base.schedule.steps - 2, standing=standing,
        unasked=silent.unasked.values(), crop=config.crop or CROP,
    )  # fmt: skip
    figures |= {
        "verdict": summed.as_json(), "command": command,
        "records": len(records), "audited": len(found.own), "attacks": table, "leaks": left,
        "gates": gates.as_rows(checked), "passed": {0: True, 1: False, 2: None}[gates.exit_code(checked)],
        "exit_code": gates.exit_code(checked), "person": silent.why("person"),
        "unasked": dict(silent.unasked),
        "public": "public pictures of invented people" if config.public is None else "the public pictures given with --public",
        "knowledge": sorted(kind.__name__ for kind in granted),
        "interval": f"95 %, bootstrap over {'people' if found.labelled else 'pictures'}", "correction": "Holm, over every test here",
        "pictures": len(found.readable), "candidates": len(held), "matched": found.by,
        "standing": standing, "withdrawn": privacy.withdrawn(records.manifests[0].privacy),
    }  # fmt: skip
    write_json(out / FIGURES, figures)
    _page(out, figures)
    return figures


def _needs(row: str) -> tuple[type, ...]:
    needs: tuple[type, ...] = attacks.attack(row.partition(":")[0]).NEEDS
    return needs


def not_run(row: str, effort: Effort, silent: Silent) -> dict[str, Any] | None:
    """The cell of an attack that is not run, and why; None of one that is."""
    name, _, variant = row.partition(":")
    module = attacks.attack(name)
    if all(target in silent.unasked for target in module.TARGETS):
        return {"outcome": gates.NOT_ASKED, "why": silent.unasked[module.TARGETS[0]]}
    if attempts.count(module, effort, variant) is None:
        return {"outcome": "left out", "why": f"it takes more than --effort {effort}"}
    if all(silent.why(target) for target in module.TARGETS):
        return {"outcome": "not tested", "why": next(filter(None, map(silent.untested.get, module.TARGETS)))}
    return None


def _releases(records: Records) -> int:
    """How often the picture that was released most often was, by the owner's own statement: earlier
    releases are not in the folder."""
    return max(int(manifest.privacy.get("releases", 1)) for manifest in records.manifests)


def check_public(base: str, settings: SealSettings) -> None:
    """Refuse an audit without ``--public`` where nothing can be invented that is like an owner's
    pictures.

    Raises:
        UserError: another base than the tiny one, or a condition that came with the folder.
    """
    if base == "tiny" and extractable(settings.condition) is not None:
        return
    raise UserError(
        f"no public pictures for base {base!r}, condition {settings.condition!r}",
        expected="--public FOLDER: pictures of the same kind that anybody could have, of other people where people are on them"
        + ("" if extractable(settings.condition) else ", each with its condition"),
        privacy="an attacker without them looks weaker than a real one",
    )


def _public(base: Base, settings: SealSettings, config: AuditConfig, tell: TellOf) -> Public:
    if config.public is not None:
        return _given(config.public, base, settings, config.crop or CROP)
    check_public(base.public_name, settings)
    condition = settings.condition
    most, each = PUBLIC.get(config.effort, (config.people, config.each))
    with autocast(base.vae.device, choose_precision()):
        return people.attackers(base, min(most, config.people), min(each, config.each), condition=condition, seed=config.seed, tell=tell)


def _given(folder: Path, base: Base, settings: SealSettings, crop: Crop) -> Public:
    """An attacker's folder of public pictures, at most ``GIVEN`` of them, evenly taken."""
    listed = Pictures.of(folder, size=base.size, condition=settings.condition, crop=crop)
    numbers, images, z_0, c = [], [], [], []
    step = max(1, -(-len(listed) // GIVEN))
    with autocast(base.vae.device, choose_precision()):
        for found, some, conditions in listed.blocks(range(0, len(listed), step), skip=True):
            numbers += found
            images.append(some)
            z_0.append(base.encode_pixels(some))
            c.append(base.encode_pixels(conditions))
    if not numbers:
        raise UserError(f"{folder}: no picture that can be read", expected="--public FOLDER with pictures of the same kind as yours")
    people, captions = ([f(i) for i in numbers] for f in (listed.people.__getitem__, listed.caption))
    return Public(np.concatenate(images), torch.cat(z_0), torch.cat(c), people, captions)


def _scenario(found: Audited, held: np.ndarray, base: Base, public: Public, config: AuditConfig) -> Scenario:
    """What a server has, and besides, to be on the safe side, the candidates and which records show
    the same person."""
    records, settings = found.records, found.records.manifests[0].settings
    known: list[object] = [Latents(records.z_n[:][None], records.n[None]), Mechanism(scenarios.sealed(base, settings)), base, public]
    if not settings.derived:
        known.append(Conditions(records.c_m[:][None], records.m[None]))
    if config.controlnet is not None:
        known.append(Trained(*load_latent_controlnet(config.controlnet, device=base.unet.device)))
    known.append(candidates(found, held, copies=extractable(settings.condition) is not None))
    if found.labelled:
        number = {person: k for k, person in enumerate(dict.fromkeys(found.pictures.people))}
        known.append(People(torch.tensor([number[found.pictures.people[i]] for i in found.own])))
    return Scenario(*known)


def _digest(path: Path | None) -> str:
    """What is at a path: of a folder, every file's name and bytes."""
    if path is None:
        return ""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return sha256("".join(f"{file.relative_to(path)} {sha256(file.read_bytes())}\n" for file in files).encode())


def _known(out: Path, records: Records, found: Audited, base: Base, config: AuditConfig) -> dict[str, Any]:
    """What an earlier run has found in ``out``."""
    path = out / FIGURES
    settings = {
        "records": records.digest(), "pictures": found.digest, "effort": config.effort, "seed": config.seed,
        "base": base.unet_fingerprint, "public": _digest(config.public), "controlnet": _digest(config.controlnet), "people": config.people,
        "each": config.each, "version": __version__,
    }  # fmt: skip
    figures: Any = read_json(path, what="audit") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != json.loads(json.dumps(settings)):
        raise UserError(f"{path}: an audit of other records, pictures or settings", fix="choose another --out, or move that one away")
    return figures


def _page(out: Path, figures: dict[str, Any]) -> None:
    rows = [("your picture", "truth"), ("what the server sees", "seen"), *((row, row) for row in _told(figures))]
    shown = []
    for label, name in rows:
        with suppress(OSError, ValueError):  # what was not kept, or was damaged since, is left out
            shown.append((label, np.load(out / "pictures" / f"{pages.named(name)}.npy")))
    table = figures["attacks"]
    danger = {False: 0, None: 1, True: 2}
    values = {
        **figures, "strips": pages.strips(shown), "words": words.TARGETS, "version": __version__, "without": words.without_result(table),
        "by_danger": {target: words.by_danger(table, target) for target in words.TARGETS},
        "gates": [{**gate, "rank": danger[gate["passed"]]} for gate in figures["gates"]],
    }  # fmt: skip
    pages.write_page(out / "attack.html", "attack.html", values)
    write_atomic(out / "attack.png", pages.png(pages.contact_sheet(shown)))


def _told(figures: dict[str, Any]) -> list[str]:
    """Rows with pictures, those that got most first."""

    def likeness(row: str) -> float:
        return float(figures["cells"][f"{SCHEME}/{row}"]["pools"][SCHEME].get("picture", {"score": 0.0})["score"])

    scored = [name.partition("/")[2] for name, cell in figures["cells"].items() if cell["outcome"] == "scored"]
    return sorted(scored, key=likeness, reverse=True)
