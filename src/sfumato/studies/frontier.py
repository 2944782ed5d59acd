"""What privacy costs: adherence of a scheme at many settings against how many people the best attack recognises there.

Every point is a scheme with its options, trained as ``compare`` trains it and attacked as the matrix attacks it. Presets are points that
were measured on one base, and hold for that base alone: on another, latents carry another signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato.attacker.attempt import Effort
from sfumato.core.artifact import write_json
from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base
from sfumato.records import presets
from sfumato.studies import compare, redteam, spec
from sfumato.studies.compare import CompareConfig
from sfumato.studies.redteam import MatrixConfig

SEALED = tuple(f"sealed:seal_step={n},condition_step={m}" for n in (400, 600, 700, 800, 900) for m in (200, 400, 600))
DERIVED = tuple(f"sealed-derived:seal_step={n}" for n in (600, 700, 800, 900))
ONE_WAY = tuple(f"oneway:t_min={t},activation={f}" for t in (0, 300, 600, 900) for f in ("symsigmoid", "identity"))
BESIDE = ("centralised", "public", "no_control")
ATTACKS = ("algebraic", "linear_mmse", "diffusion_prior:mean", "direct_identity", "pooling", "own_controlnet:public")
SOLVED = ("algebraic", "linear_mmse")
LEVELS = {"low": 0.95, "medium": 0.85, "high": 0.7}  # least share of the centralised adherence that each preset must keep
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontierConfig:
    """Which points, and how large: of training as in ``CompareConfig``, of attacks as in ``MatrixConfig``."""

    points: tuple[str, ...] = (*SEALED, *DERIVED, *ONE_WAY)
    attacks: tuple[str, ...] = ATTACKS
    pictures: int = 400
    steps: int = 400
    conditions: int = 200
    people: int = 200
    each: int = 5
    public: int = 300
    effort: Effort = "quick"
    seed: int = 0


def run(
    config: FrontierConfig, out: Path, *, command: str = "sfumato calibrate", tell: Tell = lambda what, done, total: None
) -> dict[str, Any]:
    """Measure what ``out`` lacks, and return every point with both of its figures and the presets chosen among them."""
    trained = compare.run(
        CompareConfig(
            domains=("own",), arms=("centralised", "public", *config.points), pictures=config.pictures, steps=config.steps,
            conditions=config.conditions, seeds=(config.seed,),
        ),
        out / "compare", command=command, tell=tell,
    )  # fmt: skip
    for schemes, attacks in _asked(config):
        attacked = redteam.run(
            MatrixConfig(
                schemes=schemes, attacks=attacks, effort=config.effort, people=config.people, each=config.each, public=config.public,
                seed=config.seed,
            ),
            out / "matrix", command=command, tell=tell,
        )  # fmt: skip
    rows = trained["schemes"]
    points = {name: point(rows[name], attacked["matrix"][name]) for name in config.points}
    base = load_base()
    figures = {
        "command": command, "settings": asdict(config), "interval": "95 %", "unet": base.unet_fingerprint, "base": base.fingerprint,
        "latent": list(base.latent_shape),
        "beside": {name: rows[name]["adherence"] for name in BESIDE}, "points": points,
        "presets": choose(points, rows["centralised"]["adherence"]["mean"]),
    }  # fmt: skip
    write_json(out / "frontier.json", figures)
    plot(figures, out / "frontier.png")
    return figures


def _asked(config: FrontierConfig) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which attacks on which points: one-way records are solved in closed form, and nothing gets more."""
    solved = tuple(name for name in config.points if spec.name_of(name) == "oneway")
    others = tuple(name for name in config.points if name not in solved)
    return [(points, attacks) for points, attacks in ((others, config.attacks), (solved, SOLVED)) if points]


def point(row: dict[str, Any], attacks: dict[str, Any]) -> dict[str, Any]:
    """One point: adherence, and what the best attack recognises, over attacks, variants and pools.

    ``bound`` is the largest upper end of any attack's interval, ``floor`` the larger of chance and a guess without records.
    """
    cells = {
        f"{name}{':' + variant if variant else ''}, {pool}": kept["targets"]["person"]
        for name, entry in attacks.items() for variant, one in entry.get("variants", {"": entry}).items()
        for pool, kept in one.get("pools", {}).items() if "person" in kept["targets"]
    }  # fmt: skip
    failed = sorted(name for name, entry in attacks.items() if entry["outcome"] == "failed")
    if not cells:
        return {"adherence": row["adherence"], "person": None, "failed": failed}
    best = max(cells, key=lambda name: float(cells[name]["score"]))
    person = {name: cells[best][name] for name in ("score", "low", "high", "n", "chance", "prior_only")}
    floor = max(max(cell["prior_only"], cell["chance"]) for cell in cells.values())
    bound = max(float(cell["high"]) for cell in cells.values())
    return {"adherence": row["adherence"], "person": {**person, "attack": best, "bound": bound, "floor": floor}, "failed": failed}


def choose(points: dict[str, dict[str, Any]], centralised: float) -> dict[str, dict[str, Any]]:
    """For each level the point with the least recognised people among those sealed that keep its share of the centralised adherence."""
    sealed = {name: found for name, found in points.items() if spec.name_of(name).startswith("sealed") and found["person"]}
    chosen = {}
    for level, share in LEVELS.items():
        enough = [name for name, found in sealed.items() if found["adherence"]["mean"] >= share * centralised and not found["failed"]]
        if enough:
            name = min(enough, key=lambda one: (sealed[one]["person"]["bound"], -sealed[one]["adherence"]["mean"]))
            met = sealed[name]["person"]["bound"] < 3 * sealed[name]["person"]["floor"]
            chosen[level] = {
                "scheme": name,
                **sealed[name],
                "share_of_centralised": sealed[name]["adherence"]["mean"] / centralised,
                "met": met,
            }
    return chosen


def install(figures: dict[str, Any]) -> Path:
    """Keep the presets of a frontier for this machine's ``seal --privacy``.

    Raises:
        UserError: no point was good enough for any level.
    """
    if not figures["presets"]:
        raise UserError("no preset: no point kept enough adherence", expected=f"at least {min(LEVELS.values())} of the centralised one")
    rows = {}
    for level, found in figures["presets"].items():
        name, options = spec.parse(found["scheme"])
        rows[level] = {
            "seal_step": options["seal_step"], "condition_step": options.get("condition_step"), "derived": name == "sealed-derived",
            "adherence": found["adherence"], "person": found["person"], "met": found["met"],
        }  # fmt: skip
    return presets.save(figures["base"], figures["latent"], rows, command=figures["command"])


def plot(figures: dict[str, Any], path: Path) -> None:
    """Adherence against the best attack's top-1, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture, axes = pyplot.subplots(figsize=(8, 5))
    marks = {"sealed": "o", "sealed-derived": "s", "oneway": "x"}
    for kind, mark in marks.items():
        rows = {name: found for name, found in figures["points"].items() if spec.name_of(name) == kind and found["person"]}
        if not rows:
            continue
        people, adherence = ([found[what] for found in rows.values()] for what in ("person", "adherence"))
        x, y = [one["score"] for one in people], [one["mean"] for one in adherence]
        bars = [
            (
                [at - one["low"] for at, one in zip(places, several, strict=True)],
                [one["high"] - at for at, one in zip(places, several, strict=True)],
            )
            for places, several in ((x, people), (y, adherence))
        ]
        axes.errorbar(x, y, xerr=bars[0], yerr=bars[1], fmt=mark, capsize=2, linewidth=0.8, label=kind)
        for name, at_x, at_y in zip(rows, x, y, strict=True):
            label = "/".join(str(value) for value in spec.parse(name)[1].values())
            axes.annotate(label, (at_x, at_y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    for name, style in zip(BESIDE, ("-", "--", ":"), strict=True):
        axes.axhline(figures["beside"][name]["mean"], color="black", linestyle=style, linewidth=1, label=name.replace("_", " "))
    floors = [found["person"]["floor"] for found in figures["points"].values() if found["person"]]
    if floors:
        axes.axvline(3 * max(floors), color="grey", linewidth=0.8, label="three times a guess without records")
    latent = "x".join(map(str, figures["latent"]))
    axes.set(xlabel="people that the best attack recognises, top-1 (95 % interval)", ylabel="adherence A (95 % interval)", xscale="symlog")
    axes.set_title(f"latents of {latent}: those of 512x512 pictures carry 16 times the signal, so a small base looks safer", fontsize=8)
    axes.legend(fontsize=7)
    picture.tight_layout()
    picture.savefig(path, dpi=120)
    pyplot.close(picture)
