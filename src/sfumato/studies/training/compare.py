"""Every scheme on the same base, pictures, steps and seed: what crosses the wire, what it costs,
how good it gets, what it guarantees."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sfumato._version import __version__
from sfumato.accounting import accountant
from sfumato.core import registry
from sfumato.core.artifact import read_json, write_atomic, write_json
from sfumato.core.device import choose_device, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.private import private
from sfumato.core.progress import Progress, TellOf
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.shapes import sd15
from sfumato.judge import verdict
from sfumato.judge.report import pages
from sfumato.pictures import store
from sfumato.schemes._wire import Job, Outcome, Peer
from sfumato.server.fit import TrainConfig
from sfumato.studies import spec
from sfumato.studies.owners import OWNERS, write_folder
from sfumato.studies.training import conditioned, footprint, judging, own_pictures, step_time
from sfumato.studies.training.arms import ARMS, KNOWN, check_arms, check_known, resolved
from sfumato.studies.training.held_out import HeldOut

YOURS = "yours"  # the domain of folders that somebody brings
DOMAINS = {"own": "open-peeps", "shifted": "personas", "fill50k": "fill50k", YOURS: "your own folders"}
POOL = 64  # pictures that a pool has at least
FEW = 200  # steps below which next to nothing is learned
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"domains": ("own",), "pictures": 200, "conditions": 64, "steps": 80},
    "default": {"domains": ("own", "shifted"), "pictures": 400, "conditions": 200, "steps": 400},
    "full": {"domains": ("own", "shifted", "fill50k"), "pictures": 400, "conditions": 1000, "steps": 400, "seeds": (0, 1), "frechet": True},
}
NOTHING: tuple[Any, Any] = (None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """The size of a comparison: ``pictures`` of each of two owners, ``steps`` of every server,
    ``conditions`` to be judged by.

    With ``folders``, one an owner, the domain is ``yours``: at most so many ``pictures`` of each,
    and up to ``conditions`` kept aside. Seeds after the first only tell how far another training
    moves A: ``again`` conditions are enough for that, and no Fréchet distance.
    """

    domains: tuple[str, ...] = ("own", "shifted")
    arms: tuple[str, ...] = tuple(ARMS)
    pictures: int = 400
    conditions: int = 200
    again: int = 200
    steps: int = 400
    batch: int = 32
    seeds: tuple[int, ...] = (0,)
    condition: str = "canny"
    frechet: bool = False
    folders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (YOURS in self.domains) != bool(self.folders) or (self.folders and self.domains != (YOURS,)):
            raise UserError(f"domains {', '.join(self.domains)} and {len(self.folders)} folders", expected=f"folders with {YOURS!r} alone")
        if self.steps < 1 or any(seed < 0 for seed in self.seeds):
            raise UserError(f"{self.steps} steps, seeds {self.seeds}", expected="at least 1 step, and seeds from 0 up")
        conditioned.supplied(self.condition)  # there is such a condition
        check_known(self.domains, DOMAINS, "domain")
        check_arms(self.arms)
        conditioned.check(self.condition, {name: resolved(name) for name in self.arms}, folders=bool(self.folders))


def run(
    config: CompareConfig, out: Path, *, command: str = "sfumato compare", tell: TellOf = lambda what, done, total: None
) -> dict[str, Any]:
    """Run what ``out`` lacks and return all figures; a comparison that was interrupted goes on arm
    by arm.

    ``command`` is noted as what makes them again.
    """
    for name in config.arms:
        ready = getattr(registry.get("schemes", KNOWN[spec.name_of(name)][0]), "ready", None)
        if ready is not None:  # before hours are spent, not after
            ready()
    if not config.folders:
        return _run(config, out, None, command=command, tell=tell)
    own_pictures.check_place(out, config.folders)
    with private(out):  # it holds what somebody brought
        return _run(config, out, config.folders, command=command, tell=tell)


def _run(config: CompareConfig, out: Path, folders: tuple[Path, ...] | None, *, command: str, tell: TellOf) -> dict[str, Any]:
    tell("loading the base", 0, 0)
    base = load_base(device=choose_device())
    path = out / "compare.json"
    identity = {name: value for name, value in asdict(config).items() if name not in ("arms", "domains", "seeds", "folders")}
    if folders:
        own = _read(config, base, config.seeds[0])
        identity |= {"yours": own.digest}
    machine = {"unet": base.unet_fingerprint, "device": base.unet.device.type, "precision": choose_precision(), "version": __version__}
    settings = json.loads(json.dumps(identity | machine))
    figures: dict[str, Any] = {"settings": settings, "runs": {}}
    if path.exists():
        figures = read_json(path, what="comparison")
    if not isinstance(figures, dict) or figures.get("settings") != settings:
        raise UserError(f"{path}: a comparison of other settings or another base", fix="choose another --out, or move that one away")
    out.mkdir(parents=True, exist_ok=True)
    for seed in config.seeds:
        for domain in config.domains:
            todo = [name for name in ("no_control", *config.arms) if f"{domain}/{name}/{seed}" not in figures["runs"]]
            if todo:
                first = seed == config.seeds[0]
                sized = config if first else replace(config, conditions=min(config.again, config.conditions), frechet=False)
                _domain(todo, domain, seed, base, sized, out, figures, tell)
    figures["sd15"] = footprint.table(sd15())
    if "speed" not in figures:
        on_step = partial(tell, "a server's step")
        figures["speed"] = step_time.measure(base, precision=choose_precision(), on_step=on_step)
        write_json(path, figures)
    figures |= {"command": command, "interval": "95 %, paired bootstrap over conditions", "styles": DOMAINS}
    figures |= {
        "owners": {name: f"folder {number}" for number, name in enumerate(own.owners, 1)} if folders else OWNERS,
        "few": few(config),
    }
    if folders:
        figures["folders"] = {"owners": len(own.owners), "pictures": own.count, "aside": len(own.aside.images), "notes": list(own.notes)}
    tables = {domain: _table(figures["runs"], domain, config.seeds[0]) for domain in DOMAINS}
    figures["seeds"] = {
        f"{domain}/{name}": [figures["runs"][f"{domain}/{name}/{seed}"]["adherence"]["mean"] for seed in config.seeds]
        for domain, table in tables.items() for name in table if f"{domain}/{name}/{config.seeds[-1]}" in figures["runs"]
    }  # fmt: skip
    figures |= {"schemes" if domain == "own" else domain: table for domain, table in tables.items() if table}
    write_json(path, figures)
    _report(out, figures, config)
    return figures


def _table(runs: dict[str, Any], domain: str, seed: int) -> dict[str, Any]:
    """Every arm that has run in ``domain``, in the order in which they are known: also those of an
    earlier call."""
    order = ["no_control", *KNOWN]
    ran = {name for place, name, number in (key.split("/") for key in runs) if place == domain and number == str(seed)}
    return {name: runs[f"{domain}/{name}/{seed}"] for name in sorted(ran, key=lambda name: (order.index(spec.name_of(name)), name))}


def _domain(
    todo: list[str], domain: str, seed: int, base: Base, config: CompareConfig, out: Path, figures: dict[str, Any], tell: TellOf
) -> None:
    with Place.prepared(domain, seed, base, config, out, tell) as place:
        for name in todo:
            figures["runs"][f"{domain}/{name}/{seed}"] = place.run(name)
            write_json(out / "compare.json", figures)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A domain and a seed: the owners' folders, and what every arm is judged by.

    Attributes:
        domain, seed, base, config, out, tell: as for ``run``; ``config`` is that of the seed.
        folders: of the owners, and how many pictures (``count``) they hold together.
        held_out: the conditions to be judged by.
        judge: what more is said of pictures that were made under them.
        connect: an owner's end; None for a process of its own.
    """

    domain: str
    seed: int
    base: Base
    config: CompareConfig
    out: Path
    tell: TellOf
    folders: dict[str, Path]
    count: int
    held_out: HeldOut
    judge: Callable[[np.ndarray], dict[str, Any]]
    connect: Callable[..., Peer] | None = None

    @classmethod
    @contextmanager
    def prepared(
        cls, domain: str, seed: int, base: Base, config: CompareConfig, out: Path, tell: TellOf, *, connect: Any = None
    ) -> Iterator[Place]:
        """Draw pictures and fit what judges; the owners' folders are removed in the end."""
        style = DOMAINS[domain]
        tell(f"{domain}: drawing pictures, and fitting what judges them", 0, 0)
        how: dict[str, Any] = {"condition": config.condition, "seed": seed}
        own = _read(config, base, seed) if domain == YOURS else None
        held_out = HeldOut.of(base, own.aside, **how) if own else HeldOut.draw(base, style, config.conditions, **how)
        judge = judging.nothing_more if own else judging.Judge(style, config.conditions, seed=seed, frechet=config.frechet)
        pages.keep(out / f"{domain}-real-{seed}.npy", held_out.images)
        pages.keep(out / f"{domain}-condition-{seed}.npy", held_out.conditions)
        work = out / "work"
        shutil.rmtree(work, ignore_errors=True)
        place, sets = work / "owners", {} if own is None else own.owners
        given = conditioned.supplied(config.condition)
        folders = {owner: write_folder(pictures, place / owner, conditions=given) for owner, pictures in sets.items()} or {
            owner: _folder(style, pool, place / owner, config, seed) for owner, pool in OWNERS.items()
        }
        count = config.pictures * len(folders) if own is None else own.count
        yield cls(
            domain=domain, seed=seed, base=base, config=config, out=out, tell=tell, folders=folders, count=count, held_out=held_out,
            judge=judge, connect=connect,
        )  # fmt: skip
        shutil.rmtree(work, ignore_errors=True)

    def run(self, name: str) -> dict[str, Any]:
        """Train arm ``name`` and judge it; what it made is kept for a sheet."""
        label, work = f"{self.domain}: {name.replace('_', ' ')}", self.out / "work"
        row, control = _costs(Outcome(controlnet=work), 0.0, []), NOTHING
        if name != "no_control":
            outcome, row = _train(self, name, work / pages.named(name), partial(_told, self.tell, label))
            control = load_latent_controlnet(outcome.controlnet, device=self.base.unet.device)
        judged = partial(self.tell, f"{label}, judged")
        arm = self.held_out.score(self.base, *control, precision=choose_precision(), on_step=judged)
        f1_vae = float(self.held_out.f1_vae.mean())
        row |= {"adherence": arm.adherence, "f1": float(arm.f1.mean()), "f1_vae": f1_vae, "ssim": arm.ssim}
        row |= self.judge(arm.pictures)
        pages.keep(self.out / f"{self.domain}-{pages.named(name)}-{self.seed}.npy", arm.pictures)
        return row


def _told(tell: TellOf, label: str, progress: Progress) -> None:
    tell(label, progress.step, progress.steps)


def _train(place: Place, name: str, out: Path, on_step: Callable[[Progress], None]) -> tuple[Outcome, dict[str, Any]]:
    config, seed, count = place.config, place.seed, place.count
    scheme, options = resolved(name)
    if scheme == "public":
        options = judging.public_pictures(count, seed, options)
    elif scheme == "synthetic":
        options = {"count": count, **options}
        if options.pop("prompted", 0):
            options["prompts"] = store.load(DOMAINS["own"], "public", count, seed=seed + 1, per_identity=4).captions
    elif scheme == "private_evolution":
        options = {"count": max(count, POOL), **options}
    ticks: list[tuple[float, int]] = []

    def tick(progress: Progress) -> None:
        ticks.append((time.monotonic(), progress.step))
        on_step(progress)

    settings = TrainConfig(steps=config.steps, batch=config.batch, seed=seed, precision=choose_precision(), held_out=0)
    job = Job(
        folders=place.folders, base=place.base, out=out, config=settings, condition=config.condition, options=options,
        connect=place.connect, on_step=tick,
    )  # fmt: skip
    started = time.monotonic()
    outcome = registry.get("schemes", scheme).run(job)
    return outcome, _costs(outcome, time.monotonic() - started, ticks)


def _costs(outcome: Outcome, seconds: float, ticks: list[tuple[float, int]]) -> dict[str, Any]:
    traffic, owners = list(outcome.traffic.values()), list(outcome.owners.values())
    pictures = sum(owner.get("pictures", 0) for owner in owners)
    rows = accountant.card(outcome.ledger) if outcome.ledger else []
    if outcome.stated is not None:
        rows = [{"clip": {"votes": 1.0}, "vacuous": outcome.stated.get("epsilon", 0) > accountant.VACUOUS, **outcome.stated}]
    steps = [(later - sooner) / (k - j) for (sooner, j), (later, k) in pairwise(ticks)]
    return {
        **{name: sum(getattr(t, name) for t in traffic) for name in ("bytes_up", "bytes_down", "messages_up", "messages_down")},
        "bytes_up_per_picture": sum(t.bytes_up for t in traffic) / pictures if pictures else 0,
        "bytes_down_per_picture": sum(t.bytes_down for t in traffic) / pictures if pictures else 0,
        "online": outcome.online,
        "owner_peak_bytes": max((owner.get("peak_bytes", 0) for owner in owners), default=0),
        "owner_seconds": max((owner.get("seconds", 0.0) for owner in owners), default=0.0),
        "owner_flops": max((owner.get("flops", 0) for owner in owners), default=0),
        "server_seconds_per_step": statistics.median(steps) if steps and outcome.server_trains else None,
        "seconds": seconds,
        "private_pictures": pictures,
        "epsilon": {f"{row['unit']}, {row['relation']}": row for row in rows},
        "notes": outcome.notes,
    }


def _read(config: CompareConfig, base: Base, seed: int) -> own_pictures.Own:
    how: dict[str, Any] = {"condition": config.condition, "pictures": config.pictures, "aside": config.conditions, "seed": seed}
    return own_pictures.read(config.folders, size=base.size, **how)


def few(config: CompareConfig) -> str:
    """What is said of a comparison in too few steps, or the empty string."""
    if config.steps >= FEW:
        return ""
    return (
        f"{config.steps} steps: next to nothing is learned in so few. This shows that every scheme runs, and what it sends; "
        "which of them is better, no number here says"
    )


def _folder(style: str, pool: str, folder: Path, config: CompareConfig, seed: int) -> Path:
    pictures = store.load(style, pool, config.pictures, seed=seed, per_identity=1 if style == store.FILL50K else 4)
    return write_folder(pictures, folder)


def _report(out: Path, figures: dict[str, Any], config: CompareConfig) -> None:
    sheets, tables, seed = {}, {}, config.seeds[0]
    for domain in DOMAINS:
        table = _table(figures["runs"], domain, seed)
        if not table:
            continue
        names = [name for name in ("real", "condition", *table) if (out / f"{domain}-{pages.named(name)}-{seed}.npy").exists()]
        rows = [(name.replace("_", " "), np.load(out / f"{domain}-{pages.named(name)}-{seed}.npy")) for name in names]
        sheets[domain], tables[domain] = pages.strips(rows), table
        write_atomic(out / f"compare-{domain}.png", pages.png(pages.contact_sheet(rows)))
    values = {
        "tables": tables,
        "styles": DOMAINS,
        "sheets": sheets,
        "verdict": verdict.of_comparison(tables, few(config)).as_json(),
        "guarantees": {name: _guarantee(row) for name, row in next(iter(tables.values())).items()},
        "sd15": figures["sd15"],
        "speed": figures["speed"],
        "settings": figures["settings"],
        "folders": figures.get("folders"),
        "seeds": figures["seeds"] if len(config.seeds) > 1 else {},
        "version": __version__,
    }
    pages.write_page(out / "compare.html", "compare.html", values)


def _guarantee(row: dict[str, Any]) -> str:
    rows = list(row.get("epsilon", {}).values())
    if not rows:
        return "nothing private left"
    return accountant.lines(rows[:1])[0]
