"""Ways to give away less, or to learn more from what is given away, each against the same plain sealed records.

    python recipes/move_the_frontier.py           # about 5 minutes a way on two cores; run again to resume

Ways before the seal change what leaves, so they are trained on *and* attacked: pictures noised before edges are found in them, conditions
low-passed or found in half the pixels, pictures without all but the first principal components of public ones. Ways of the server change
nothing of that: public pairs mixed in, residuals only above n. Adherence is measured in the base's own style and in one it never saw,
people are recognised in the own style. Derived conditions are a scheme of their own: ``sfumato calibrate`` and ``sfumato compare``.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from sfumato._version import __version__
from sfumato.attacker.knowledge import Conditions, Latents, Mechanism, Public, Scenario
from sfumato.core.artifact import read_json, write_json
from sfumato.core.device import choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.guesses import Prior, Truth
from sfumato.judge.report import pages
from sfumato.pictures import store
from sfumato.records.reader import Records
from sfumato.schemes import centralised
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train
from sfumato.studies.owners import OWNERS
from sfumato.studies.records import cell, matrix, people, scenarios
from sfumato.studies.training.compare import DOMAINS
from sfumato.studies.training.held_out import HeldOut

CONDITION = "canny"
STYLES = ("own", "shifted")
ATTACKS = ("linear_mmse", "direct_identity", "pooling:records")  # the baseline, and those that get most people at every point
FROM_PAIRS = ("linear_mmse",)  # takes public latents for what private ones were before the noise
Before = Callable[[Base, Public, torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]
Victims = Callable[[], tuple[scenarios.Private, dict[str, Truth], dict[str, Prior], list[object]]]


def as_it_is(base: Base, public: Public, z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Nothing before the seal."""
    return z_0, c


def noised_first(level: float) -> Before:
    """Edges of pictures with noise of standard deviation ``level`` (pixels run from 0 to 255)."""

    def before(base: Base, public: Public, z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        pictures = base.decode_pixels(z_0)
        noise = level * torch.randn(pictures.shape, generator=draws).numpy()
        noised = (pictures + noise).round().clip(0, 255).astype(np.uint8)
        return z_0, _maps(base, edges_of(noised, CONDITION))

    return before


def blurred(radius: float) -> Before:
    """Conditions low-passed by a Gaussian of ``radius`` pixels."""

    def before(base: Base, public: Public, z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        maps = (Image.fromarray(one).filter(ImageFilter.GaussianBlur(radius)) for one in base.decode_pixels(c))
        return z_0, base.encode_pixels(np.stack([np.asarray(one) for one in maps]))

    return before


def coarse(base: Base, public: Public, z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Conditions found in pictures of half the size."""
    side = base.size // 2
    small = np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BOX)) for one in base.decode_pixels(z_0)])
    return z_0, _maps(base, edges_of(small, CONDITION).repeat(2, axis=1).repeat(2, axis=2))


def projected(rank: int) -> Before:
    """Pictures' latents on the first ``rank`` principal components of public ones."""

    def before(base: Base, public: Public, z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        known = public.z_0.flatten(1)
        mean = known.mean(0)
        basis = torch.linalg.svd(known - mean, full_matrices=False).Vh[:rank]
        return (mean + (z_0.flatten(1) - mean) @ basis.T @ basis).view_as(z_0), c

    return before


def _maps(base: Base, edges: np.ndarray) -> torch.Tensor:
    """Latents of edges, bool ``(N, H, W)``."""
    return base.encode_pixels(np.repeat(255 * edges[..., None].astype(np.uint8), 3, axis=3))


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way: what happens before the seal, at which condition step it seals, and what the server does otherwise.

    ``public``: public pairs in the clear beside as many records. ``residuals``: "all" the way, or only "above n".
    """

    before: Before = as_it_is
    condition_step: int | None = 200
    public: bool = False
    residuals: str = "all"

    @property
    def attacked(self) -> bool:
        """Whether what leaves is another thing than under plain sealing."""
        return self.before is not as_it_is


PLAIN = "plain"
WAYS = {
    PLAIN: Way(),
    "edges of noised pictures (32), else clear": Way(before=noised_first(32), condition_step=None),
    "conditions of half the size": Way(before=coarse),
    "public pairs mixed in": Way(public=True),
    "conditions blurred (2 px)": Way(before=blurred(2)),
    "64 principal components": Way(before=projected(64)),
    "residuals above n only": Way(residuals="above n"),
}


def sealing(way: Way, base: Base, public: Public, seal_step: int) -> scenarios.Push:
    """What is done to latents before they leave."""
    seal = scenarios.mechanism("sealed", base, seal_step=seal_step, condition_step=way.condition_step)

    def push(z_0: torch.Tensor, c: torch.Tensor, draws: torch.Generator) -> Scenario:
        return seal(*way.before(base, public, z_0, c, draws), draws)

    return push


def records_of(left: Scenario) -> Records:
    """What left, as a server trains on it."""
    latents, conditions = left.get(Latents), left.get(Conditions)
    assert latents is not None and conditions is not None
    return Records(latents.z[0], conditions.c[0], latents.n[0], conditions.m[0], (), (), CONDITION)


def adherence(way: Way, style: str, base: Base, public: Public, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Train on the owners' records of ``style``, and draw under held-out conditions: as they are, and treated as those of the records.

    A reader takes the better of the two, as whoever exports a ControlNet would.
    """
    pools = [store.load(DOMAINS[style], pool, args.pictures, seed=args.seed, per_identity=4) for pool in OWNERS.values()]
    z_0, c = people.latents_of(base, np.concatenate([pool.images for pool in pools]), CONDITION)
    records = records_of(sealing(way, base, public, args.seal_step)(z_0, c, generator(args.seed, 1)))
    if way.public:
        seen = store.load(DOMAINS["own"], "public", len(records), seed=args.seed + 1, per_identity=4)
        clear, _ = centralised.from_pictures(seen.images, seen.captions, base, condition=CONDITION)
        both = [torch.cat([getattr(records, name)[:], getattr(clear, name)[:]]) for name in ("z_n", "c_m", "n", "m")]
        records = Records(*both, (), (), CONDITION)
    settings = TrainConfig(steps=args.steps, seed=args.seed, held_out=0, precision=choose_precision())
    net, found = load_latent_controlnet(train(records, base, work, settings))
    shutil.rmtree(work)
    if way.residuals == "above n":
        found = {**found, "control_guidance_end": 1 - args.seal_step / base.schedule.steps}
    held_out = HeldOut.draw(base, DOMAINS[style], args.conditions, condition=CONDITION, seed=args.seed)
    score = partial(held_out.score, base, net, found, precision=choose_precision())
    shown = {"as they are": score().adherence}
    if way.attacked:
        own = people.latents_of(base, held_out.images, CONDITION)
        shown["as those of the records"] = score(latents=way.before(base, public, *own, generator(args.seed, 2))[1]).adherence
    return max(shown.values(), key=lambda one: one["mean"]) | {"shown": shown}


def recognised(
    way: Way, base: Base, public: Public, victims: Victims, args: argparse.Namespace, attacks: tuple[str, ...]
) -> dict[str, Any]:
    """Which people attacks recognise in what leaves, by attack and pool. Attackers know the way: those that learn from public pairs as they
    are, and not from what a mechanism makes of them, get pairs that went the same way."""
    private, truths, priors, more = victims()
    push = sealing(way, base, public, args.seal_step)
    known = push(private.z_0, private.c, generator(args.seed, 1)).having(base, public, Mechanism(push), *more)
    z_0, c = way.before(base, public, public.z_0, public.c, generator(args.seed, 3))
    adapted = known.having(replace(public, z_0=z_0, c=c))
    found = {}
    for row in attacks:
        answer, _ = cell.attack(
            adapted if row in FROM_PAIRS else known, row, base, args.work, condition=CONDITION, effort="quick", seed=args.seed,
            tell=lambda done, total: None,
        )  # fmt: skip
        scores = cell.score(answer, truths, priors, base, condition=CONDITION, seed=args.seed)
        found[row] = {pool: kept.get("person") for pool, kept in scores["pools"].items()} if "pools" in scores else scores["why"]
    return found


def best(found: dict[str, Any]) -> dict[str, Any]:
    """The attack and pool in which most people are recognised."""
    cells = {f"{row}, {pool}": cell for row, pools in found.items() if isinstance(pools, dict) for pool, cell in pools.items() if cell}
    if not cells:
        raise SystemExit(f"no attack came to anything, which is no proof of safety: {found}")
    name = max(cells, key=lambda label: float(cells[label]["score"]))
    return {"attack": name, **{key: cells[name][key] for key in ("score", "low", "high", "n", "chance")}}


def run(args: argparse.Namespace, ways: dict[str, Way], attacks: tuple[str, ...] = ATTACKS) -> dict[str, Any]:
    """Measure what the file lacks."""
    base = load_base()
    settings = {name: getattr(args, name) for name in ("seal_step", "pictures", "steps", "conditions", "people", "each", "public", "seed")}
    settings |= {"unet": base.unet_fingerprint, "precision": choose_precision(), "attacks": list(attacks)}
    figures: dict[str, Any] = read_json(args.json, what="figures") if args.json.exists() else {"settings": settings, "ways": {}}
    if figures["settings"] != settings:
        raise SystemExit(f"{args.json} was made with other settings or another base; move it away")
    figures |= {
        "command": f"python recipes/move_the_frontier.py --seal-step {args.seal_step}",
        "interval": "95 %, bootstrap",
        "version": __version__,
    }
    public = people.attackers(base, args.public, 8, condition=CONDITION, seed=args.seed)
    victims = cache(partial(people.victims, base, public, matrix.POOLS, args.people, args.each, condition=CONDITION, seed=args.seed))
    for name, way in ways.items():
        row = figures["ways"].setdefault(name, {})
        jobs: dict[str, Callable[[], Any]] = {
            style: partial(adherence, way, style, base, public, args, args.work / pages.named(f"{name}-{style}")) for style in STYLES
        }
        if way.attacked or name == PLAIN:
            jobs["people"] = partial(recognised, way, base, public, victims, args, attacks)
        for what, job in jobs.items():
            if what not in row:
                started = time.monotonic()
                row[what] = job()
                row["seconds"] = row.get("seconds", 0.0) + time.monotonic() - started
                write_json(args.json, figures)
        person = best(figures["ways"][name if "people" in row else PLAIN]["people"])
        print(f"{name}: A = {row['own']['mean']:.2f}, shifted {row['shifted']['mean']:.2f}; people {person['score']:.2f}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/moved.json"))
    parser.add_argument("--work", type=Path, default=Path("build/moved"))
    parser.add_argument("--seal-step", type=int, default=600)
    parser.add_argument("--pictures", type=int, default=400, help="of each of the two owners")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--conditions", type=int, default=200)
    parser.add_argument("--people", type=int, default=200, help="private people of each of two pools, to be recognised")
    parser.add_argument("--each", type=int, default=5, help="pictures of each of them")
    parser.add_argument("--public", type=int, default=300, help="the attacker's people")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only this one; may be given again")
    args = parser.parse_args()
    quiet_libraries()
    run(args, {name: way for name, way in WAYS.items() if not args.way or name in args.way})


if __name__ == "__main__":
    main()
