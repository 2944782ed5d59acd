"""Every attack on every scheme: what an attacker gets, beside what anybody could have guessed.

A cell is an attack on what a scheme leaks of the private pools, attacked together (attackers learn
on public people alone) and scored apart. Cells are kept as they are found, so that a run that was
killed goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from sfumato._version import __version__
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.records import base as attacks
from sfumato.attacker.records.base import Guess
from sfumato.core.artifact import read_json, write_json
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell, TellOf
from sfumato.diffusion.base import load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.judge.metrics import guesses
from sfumato.judge.report import matrix as report
from sfumato.judge.report import pages
from sfumato.studies import spec
from sfumato.studies.records import cell, people, scenarios

POOLS = ("recombined", "unseen_part")
# Of an attack's variants, the first of these is shown; then "no channel".
OUTCOMES = ("scored", "failed", "not tested", "left out", "not asked")
CEILING = ("", "ceiling")  # the cell of no scheme and no attack: the true latents, decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixConfig:
    """The size of a matrix: ``people`` private people of each pool with ``each`` pictures to be
    attacked and as many others in the gallery; ``public`` people of the attacker's with
    ``public_each`` pictures. ``records``: at least so many for every attack, whatever it takes of
    itself."""

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
            (self.schemes, scenarios.known(), "scheme"),
            (self.attacks, attacks.rows(), "attack"),
            (self.pools, POOLS, "pool"),
        ):
            unknown = [name for name in chosen if (spec.name_of(name) if what == "scheme" else name) not in known]
            if unknown:
                raise UserError(f"unknown {what} {unknown[0]!r}", expected=f"some of {', '.join(known)}")


def run(
    config: MatrixConfig,
    out: Path,
    *,
    jobs: int = 1,
    command: str = "sfumato matrix",
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:
    """Attack what ``out`` lacks, in so many processes, and return the whole matrix. ``command`` is
    noted as what makes it again."""
    path = out / "matrix.json"
    varying = ("schemes", "attacks")
    identity = {name: value for name, value in asdict(config).items() if name not in varying}
    settings = json.loads(json.dumps(identity | {"unet": load_base().unet_fingerprint, "version": __version__}))
    figures: dict[str, Any] = read_json(path, what="matrix") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != settings:
        raise UserError(f"{path}: a matrix of other settings or another base", fix="choose another --out, or move that one away")
    out.mkdir(parents=True, exist_ok=True)
    rows = config.attacks or tuple(attacks.rows())
    wanted = [(scheme, row) for scheme in config.schemes for row in rows if f"{scheme}/{row}" not in figures["cells"]]
    if "ceiling" not in figures:
        wanted.insert(0, CEILING)
    for (scheme, row), found in _found(config, wanted, out, jobs, tell):
        if (scheme, row) == CEILING:
            if found["outcome"] != "scored":
                raise UserError(f"the true pictures could not be scored: {found['why']}", expected="a line-up of the people attacked")
            figures["ceiling"] = found["pools"]
        else:
            figures.setdefault("leaks", {})[scheme] = found.pop("leaked")
            figures["cells"][f"{scheme}/{row}"] = found
        write_json(path, figures)
    figures["cells"] = dict(sorted(figures["cells"].items()))  # as the file has them, whichever process was first
    figures["matrix"] = dict(sorted(table(figures["cells"]).items()))
    figures |= {"command": command, "interval": "95 %, bootstrap over people", "correction": "Holm, over every test in the matrix"}
    write_json(path, figures)
    report.write(out, figures)
    return figures


def _found(
    config: MatrixConfig, wanted: list[tuple[str, str]], out: Path, jobs: int, tell: TellOf
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """What came of every cell, as each is done."""
    if jobs == 1 or len(wanted) < 2:
        world = World(config, tell) if wanted else None
        for scheme, row in wanted:
            yield (scheme, row), world.cell(scheme, row, out, partial(tell, f"{row} on {scheme}"))  # type: ignore[union-attr]
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(min(jobs, len(wanted)), mp_context=get_context("spawn"), initializer=attend) as pool:
        try:
            asked = {pool.submit(_cells, config, threads, unit, out): unit for unit in units(wanted)}
            done = 0
            tell(f"{len(wanted)} attacks on schemes, {jobs} at a time", 0, len(wanted))
            for unit in as_completed(asked):
                for (scheme, row), found in zip(asked[unit], unit.result(), strict=True):
                    tell(f"{row} on {scheme}", done := done + 1, len(wanted))
                    yield (scheme, row), found
        except BrokenProcessPool as error:
            raise UserError(
                "one of the processes was killed", expected="about 2 GB of memory for each", fix="fewer --jobs; run it again to go on"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def units(wanted: list[tuple[str, str]], *, together: bool = False) -> list[list[tuple[str, str]]]:
    """Cells that one process does one after the other: of an attack that asks what another has
    said, both, for processes share nothing. ``together``: all variants of an attack, too."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for scheme, row in wanted:
        name = row.partition(":")[0]
        asked = getattr(attacks.attack(name), "ASKS", name if together else row) if scheme else row
        found.setdefault((scheme, asked), []).append((scheme, row))
    return list(found.values())


def attend() -> None:
    """End with the process that asked: one that is killed tells nobody."""
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _cells(config: MatrixConfig, threads: int, unit: list[tuple[str, str]], out: Path) -> list[dict[str, Any]]:
    """The cells of a unit in a process of its own, which keeps its world for the next."""
    torch.set_num_threads(threads)
    return [_world(config).cell(scheme, row, out, lambda done, total: None) for scheme, row in unit]


@cache
def _world(config: MatrixConfig) -> World:
    quiet_libraries()
    return World(config, lambda what, done, total: None)


class World:
    """Who attacks whom in a matrix, drawn once; and what is known under one scheme, until another
    is asked for."""

    def __init__(self, config: MatrixConfig, tell: TellOf) -> None:
        self.config, self.base = config, load_base(device=choose_device())
        how: dict[str, Any] = {"condition": config.condition, "seed": config.seed, "tell": tell}
        self.public = people.attackers(self.base, config.public, config.public_each, **how)
        self.private, self.truths, self.priors, self.more = people.victims(
            self.base, self.public, config.pools, config.people, config.each, **how
        )
        self.scheme, self.known = "", Scenario()

    def cell(self, scheme: str, row: str, out: Path, tell: Tell) -> dict[str, Any]:
        """What came of ``row`` on ``scheme``, and what of it leaked; pictures go to ``out``."""
        config, base = self.config, self.base
        if (scheme, row) == CEILING:
            pages.keep(out / "pictures" / "truth.npy", self.private.images)
            decoded = Guess(z_0=self.private.z_0, c=self.private.c)  # what even the true latents give away: the VAE lost the rest
            return cell.score(decoded, self.truths, self.priors, base, condition=config.condition, seed=config.seed)
        if scheme != self.scheme:
            known, options = spec.parse(scheme)
            found = scenarios.scenario(known, self.private, base, self.public, seed=config.seed, **options)
            self.scheme, self.known = scheme, found.having(*self.more)
        leaked, named = self.known.leaked(), pages.named(f"{scheme}-{row}")
        answer, self.known = cell.attack(
            self.known, row, base, out / f"work-{named}", condition=config.condition, effort=config.effort, seed=config.seed,
            records=config.records, tell=tell,
        )  # fmt: skip
        made = cell.score(answer, self.truths, self.priors, base, condition=config.condition, seed=config.seed)
        if isinstance(answer, Guess) and made["outcome"] == "scored":
            with suppress(Exception):  # scores are kept without a picture, too
                cell.show(answer, base, out / "pictures" / f"{named}.npy")
        return {**made, "leaked": leaked}


def table(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By scheme and attack what came out, its verdicts corrected over every test in the matrix.

    An attack with several variants shows the one that got most, and each of them under
    ``variants``; what is beside ``pools`` is of the pool in which it got most, and of the attack's
    first target that was judged (``effective_targets`` names all that it is effective against).
    Where nothing was scored it is null.
    """
    tests = {
        f"{name}|{pool}|{target}": {**found, "target": target}
        for name, kept in cells.items() for pool, targets in kept.get("pools", {}).items() for target, found in targets.items()
    }  # fmt: skip
    verdicts = guesses.judged(tests) if tests else {}
    schemes: dict[str, dict[str, Any]] = {}
    for name, kept in cells.items():
        scheme, row = name.split("/", 1)
        attack, _, variant = row.partition(":")
        entry: dict[str, Any] = dict.fromkeys(("effective", "score", "low", "high", "prior_only", "chance", "n"))
        entry |= {"target": attacks.attack(attack).TARGETS[0], "outcome": kept["outcome"], "why": kept.get("why", "")}
        entry |= {"seconds": kept.get("seconds", 0.0), "pools": {}}
        for pool, targets in kept.get("pools", {}).items():
            if not targets:
                continue
            judged = {target: verdicts[f"{name}|{pool}|{target}"] for target in targets}
            first = next((target for target in attacks.attack(attack).TARGETS if target in judged), next(iter(judged)))
            against = [target for target, found in judged.items() if found["effective"]]
            entry["pools"][pool] = {**judged[first], "effective_targets": against, "targets": judged}
        if entry["pools"]:
            best = max(entry["pools"], key=lambda pool: _gain(entry["pools"][pool]))
            entry = {**entry, **entry["pools"][best]}
        known = schemes.setdefault(scheme, {})
        several = {**known.get(attack, {}).get("variants", {}), variant: entry}
        most = max(several.values(), key=lambda one: (*(one["outcome"] == said for said in OUTCOMES), *_gain(one)))
        known[attack] = {**most, "variants": several} if variant else most
    return schemes


def _gain(entry: dict[str, Any]) -> tuple[bool, float]:
    return bool(entry.get("effective")), float(entry.get("score") or 0.0)
