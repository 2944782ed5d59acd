"""What privacy costs: adherence of a scheme at many settings against how many people the best
attack recognises there.

Every point is a scheme with its options, trained as ``compare`` trains it and attacked as the
matrix attacks it. Presets are points that were measured on one base, and hold for that base alone:
on another, latents carry another signal.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato._version import __version__
from sfumato.attacker.attempt import Effort
from sfumato.core.artifact import write_json
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import load_base
from sfumato.records import presets
from sfumato.studies import spec
from sfumato.studies.records import matrix, scenarios
from sfumato.studies.records.matrix import MatrixConfig
from sfumato.studies.training import compare
from sfumato.studies.training.compare import CompareConfig

SEALED = tuple(f"sealed:seal_step={n},condition_step={m}" for n in (400, 600, 700, 800, 900) for m in (200, 400, 600))
DERIVED = tuple(f"sealed-derived:seal_step={n}" for n in (600, 700, 800, 900))
ONE_WAY = tuple(f"oneway:t_min={t},activation={f}" for t in (0, 300, 600, 900) for f in ("symsigmoid", "identity"))
LEARNED = ("centralised", "public", "synthetic")
BESIDE = (*LEARNED, "no_control")
ATTACKS = (
    "algebraic", "linear_mmse", "diffusion_prior:mean", "diffusion_prior:ddim", "direct_identity", "pooling:records",
    "own_controlnet:public",
)  # fmt: skip
SOLVED = ("algebraic", "linear_mmse")  # of one-way records, which are solved in closed form: nothing gets more
DEARER = ("diffusion_prior:tuned", "pooling:pictures", "own_controlnet:server")  # asked of what was chosen, beside the others
MEASURED_ON = "drawn people of the tiny base's own style"
LEVELS = {"low": 0.3, "medium": 0.15, "high": 0.06}  # of people, that the best attack may recognise at most under each preset
ENOUGH = 0.7  # of the centralised adherence, that any preset must keep


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontierConfig:
    """Which points, and how large: of training as in ``CompareConfig``, of attacks as in
    ``MatrixConfig``.

    Points are chosen by what was found on some people, so what is said of the chosen ones is
    measured ``again``, on other people, under more attacks, and in a style that the base never saw;
    ``shifted``: all of them are trained in that style, too.
    """

    points: tuple[str, ...] = (*DERIVED, *SEALED, *ONE_WAY)
    attacks: tuple[str, ...] = ATTACKS
    pictures: int = 400
    steps: int = 400
    conditions: int = 200
    people: int = 200
    each: int = 5
    public: int = 600
    records: int = 1000
    effort: Effort = "quick"
    seed: int = 0
    again: bool = True
    shifted: bool = False


def run(
    config: FrontierConfig, out: Path, *, command: str = "sfumato calibrate", tell: TellOf = lambda what, done, total: None
) -> dict[str, Any]:
    """Measure what ``out`` lacks, and return every point that it has with both of its figures, and
    the presets chosen among them.

    Raises:
        UserError: a point that is no scheme with options of its own, before anything is trained.
    """
    base = load_base(device=choose_device())
    for word in config.points:
        name, options = spec.parse(word)
        scenarios.mechanism(name, base, **options)
    domains = ("own", "shifted") if config.shifted else ("own",)
    trained = _trained(config, domains, (*LEARNED, *config.points), out, command, tell)
    attacked: dict[str, Any] = {}
    for schemes, attacks in _asked(config):
        attacked = _attacked(config, schemes, attacks, config.seed, out / "matrix", command, tell)
    rows = trained["schemes"]
    names = [name for name in rows if name in attacked["matrix"]]
    points = {name: point(rows[name], attacked, name, _wanted(name, config.attacks)) for name in names}
    chosen = choose(points, rows["centralised"]["adherence"]["mean"])
    if config.again and chosen:
        schemes = tuple(dict.fromkeys(found["scheme"] for found in chosen.values()))
        trained = _trained(config, ("shifted",), (*LEARNED, *schemes), out, command, tell)
        chosen = _again(config, chosen, trained["shifted"], out, command, tell)
    figures = {
        "command": command, "version": __version__, "settings": json.loads(json.dumps(asdict(config))), "interval": "95 %",
        "unet": base.unet_fingerprint,
        "base": base.fingerprint, "latent": list(base.latent_shape), "condition": "canny", "ceiling": attacked["ceiling"],
        "beside": {name: rows[name]["adherence"] for name in BESIDE}, "points": points, "presets": chosen,
        "shifted": {name: row["adherence"] for name, row in trained.get("shifted", {}).items()},
    }  # fmt: skip
    write_json(out / "frontier.json", figures)
    plot(figures, out / "frontier.png")
    return figures


def _trained(
    config: FrontierConfig, domains: tuple[str, ...], schemes: tuple[str, ...], out: Path, command: str, tell: TellOf
) -> dict[str, Any]:
    sized = CompareConfig(
        domains=domains, arms=schemes, pictures=config.pictures, steps=config.steps, conditions=config.conditions, seeds=(config.seed,)
    )
    return compare.run(sized, out / "compare", command=command, tell=tell)


def _attacked(
    config: FrontierConfig, schemes: tuple[str, ...], attacks: tuple[str, ...], seed: int, out: Path, command: str, tell: TellOf
) -> dict[str, Any]:
    sized = MatrixConfig(
        schemes=schemes, attacks=attacks, effort=config.effort, people=config.people, each=config.each, public=config.public,
        records=config.records, seed=seed,
    )  # fmt: skip
    return matrix.run(sized, out, command=command, tell=tell)


def _wanted(name: str, attacks: tuple[str, ...]) -> tuple[str, ...]:
    return SOLVED if spec.name_of(name) == "oneway" else attacks


def _asked(config: FrontierConfig) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which attacks on which points."""
    kinds = dict.fromkeys(_wanted(name, config.attacks) for name in config.points)
    return [(tuple(name for name in config.points if _wanted(name, config.attacks) == attacks), attacks) for attacks in kinds]


def point(row: dict[str, Any], attacked: dict[str, Any], name: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """One point: adherence, and what the best attack recognises, over attacks, variants and pools.

    ``upper`` is the largest upper end of any attack's interval, ``floor`` the larger of chance and
    what a guess without records gets on average. ``failed`` are attacks that came to nothing or
    were not tried: such a point is not known to be safe.

    Args:
        row: of the comparison.
        attacked: figures of a matrix.
        name: of the point in it.
        wanted: attacks that must have been tried.
    """
    variants = {
        f"{attack}:{variant}" if variant else attack: one
        for attack, entry in attacked["matrix"][name].items() for variant, one in entry.get("variants", {"": entry}).items()
    }  # fmt: skip
    failed = sorted({label for label, one in variants.items() if one["outcome"] == "failed"} | set(wanted) - set(variants))
    cells = {
        f"{label}, {pool}": kept["targets"]["person"] | {"budget": attacked["cells"][f"{name}/{label}"].get("budget", {})}
        for label, one in variants.items() for pool, kept in one.get("pools", {}).items() if "person" in kept["targets"]
    }  # fmt: skip
    if not cells:
        return {"adherence": row["adherence"], "person": None, "failed": failed}
    best = max(cells, key=lambda label: float(cells[label]["score"]))
    person = {key: cells[best][key] for key in ("score", "low", "high", "n", "chance", "budget")}
    floor = max(max(cell["guess"], cell["chance"]) for cell in cells.values())
    upper = max(float(cell["high"]) for cell in cells.values())
    return {"adherence": row["adherence"], "person": {**person, "attack": best, "upper": upper, "floor": floor}, "failed": failed}


def choose(points: dict[str, dict[str, Any]], centralised: float) -> dict[str, dict[str, Any]]:
    """For each level the sealed point of most adherence among those whose upper end is within the
    level's, and that keep enough of the centralised adherence, the lower end of the interval,
    too."""
    kept = {name: found for name, found in points.items() if spec.name_of(name).startswith("sealed") and found["person"]}
    kept = {name: found for name, found in kept.items() if found["adherence"]["low"] >= ENOUGH * centralised and not found["failed"]}
    chosen = {}
    for level, most in LEVELS.items():
        within = [name for name, found in kept.items() if found["person"]["upper"] <= most]
        if within:
            name = max(within, key=lambda one: (kept[one]["adherence"]["mean"], -kept[one]["person"]["upper"]))
            share = kept[name]["adherence"]["mean"] / centralised
            chosen[level] = {"scheme": name, **kept[name], "share_of_centralised": share, "met": met(kept[name]["person"])}
    return chosen


def met(person: dict[str, Any]) -> bool:
    """Whether the best attack surely recognises less than three times what a guess does."""
    return bool(person["upper"] < 3 * person["floor"])


def _again(
    config: FrontierConfig, chosen: dict[str, Any], shifted: dict[str, Any], out: Path, command: str, tell: TellOf
) -> dict[str, Any]:
    """What was chosen, attacked once more: other people, more attacks. Beside it what it is worth
    in the ``shifted`` style."""
    schemes = tuple(dict.fromkeys(found["scheme"] for found in chosen.values()))
    attacks = (*config.attacks, *DEARER)
    attacked = _attacked(config, schemes, attacks, config.seed + 1, out / "again", command, tell)
    found = {}
    for level, kept in chosen.items():
        name = kept["scheme"]
        measured = point(kept, attacked, name, attacks)
        person = measured["person"]
        found[level] = {
            **kept, "again": {"person": person, "failed": measured["failed"]},
            "shifted": {arm: shifted[arm]["adherence"] for arm in (name, *LEARNED)},
            "met": person is not None and not measured["failed"] and met(person),
        }  # fmt: skip
    return found


def install(figures: dict[str, Any]) -> Path:
    """Keep the presets of a frontier for this machine's ``seal --privacy``, with what was measured
    on other people than those by whom they were chosen, where that was done.

    Raises:
        UserError: no point was good enough for any level.
    """
    if not figures["presets"]:
        raise UserError(
            "no preset: no point hid enough and kept enough adherence",
            expected=f"at most {max(LEVELS.values())} of people recognised, and at least {ENOUGH} of the centralised adherence",
        )
    rows = {}
    for level, found in figures["presets"].items():
        name, options = spec.parse(found["scheme"])
        rows[level] = {
            "seal_step": options["seal_step"], "condition_step": options.get("condition_step"), "derived": name == "sealed-derived",
            "adherence": found["adherence"], "person": found.get("again", found)["person"], "met": found["met"],
        }  # fmt: skip
        if "synthetic" in found.get("shifted", {}):
            rows[level]["taught"] = {"records": found["shifted"][found["scheme"]], "no owner": found["shifted"]["synthetic"]}
    how = {"condition": figures["condition"], "measured_on": MEASURED_ON, "command": figures["command"]}
    return presets.save(figures["base"], figures["latent"], rows, **how)


def plot(figures: dict[str, Any], path: Path) -> None:
    """Adherence against the best attack's top-1, with intervals: in the base's own style, and in
    another where that was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    own = figures["beside"] | {name: found["adherence"] for name, found in figures["points"].items()}
    panels = {"the base's own style": own, "a style that the base never saw": figures["shifted"]}
    panels = {title: values for title, values in panels.items() if values}
    picture, places = pyplot.subplots(1, len(panels), figsize=(7.5 * len(panels), 5), squeeze=False, sharey=True)
    for axes, (title, adherence) in zip(places[0], panels.items(), strict=True):
        _panel(axes, figures, adherence)
        axes.set_title(title, fontsize=9)
    places[0][0].set_ylabel("adherence A (95 % interval)")
    places[0][0].legend(fontsize=7)
    latent = "x".join(map(str, figures["latent"]))
    picture.suptitle(f"latents of {latent}: those of 512x512 pictures carry 16 times the signal, so a small base looks safer", fontsize=8)
    picture.tight_layout()
    picture.savefig(path, dpi=120)
    pyplot.close(picture)


def _panel(axes: Any, figures: dict[str, Any], adherence: dict[str, Any]) -> None:
    marks = {"sealed": ("o", "C0"), "sealed-derived": ("s", "C1"), "oneway": ("x", "C2")}
    people = {name: found["person"] for name, found in figures["points"].items() if found["person"] and name in adherence}
    for kind, (mark, colour) in marks.items():
        names = [name for name in people if spec.name_of(name) == kind]
        if not names:
            continue
        x, y = [people[name]["score"] for name in names], [adherence[name]["mean"] for name in names]
        bars = [
            [[at - one[name]["low"] for name, at in zip(names, where, strict=True)],
             [one[name]["high"] - at for name, at in zip(names, where, strict=True)]]
            for where, one in ((x, people), (y, adherence))
        ]  # fmt: skip
        axes.errorbar(x, y, xerr=bars[0], yerr=bars[1], fmt=mark, color=colour, capsize=2, linewidth=0.8, label=kind)
        for name, at_x, at_y in zip(names, x, y, strict=True):
            label = "/".join(str(value) for value in spec.parse(name)[1].values())
            axes.annotate(label, (at_x, at_y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    leaking = {"centralised": max(pool["person"]["score"] for pool in figures["ceiling"].values())}  # the others see nobody
    for name, mark in zip(BESIDE, "D^v1", strict=True):
        if name in adherence:
            axes.plot(leaking.get(name, 0.0), adherence[name]["mean"], mark, color="black", label=name.replace("_", " "))
    floors = [found["floor"] for found in people.values()]
    if floors:
        axes.axvline(3 * max(floors), color="grey", linewidth=0.8, label="three times a guess without records")
    axes.set_xlabel("people that the best attack recognises, top-1 (95 % interval)")
    axes.set_xscale("symlog", linthresh=0.02)
    axes.set_xlim(-0.002, 1.1)
