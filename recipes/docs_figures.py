"""Figures of the pages, filled in from what was measured: README.md and docs/**/*.md from docs/*.json.

    python recipes/docs_figures.py            # fill every page in
    python recipes/docs_figures.py --check    # exit code 1 where a page is stale
    python recipes/docs_figures.py --pictures # make the PNGs of docs/ small, with a palette

A page says where a figure stands and a comment says which one, so no figure is typed by hand:

    <!-- figure: demo.json adherence.sealed -->0.39 [0.29, 0.49]<!-- /figure -->
    <!-- figure: demo.json owner_peak_bytes / 1e6 as .0f -->564<!-- /figure -->
    <!-- table: sweep -->
    ...
    <!-- /table -->

``made FILE ...`` is a table, too: the commands that made these files, and the version that ran them.
What a method has no figure for reads "not measured" in a table. A marker in the text that names no
figure is a mistake and stops the run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURE = re.compile(r"(<!-- figure: (.+?) -->)(.*?)(<!-- /figure -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
SPEC = re.compile(r"(?P<file>\S+) (?P<path>.+?)(?: / (?P<unit>[\d.e]+))?(?: as (?P<form>\S+))?")
CENTRES = ("mean", "score", "top1", "difference")  # what an interval goes around
UNKNOWN = "not measured"
ENOUGH = 64  # records or pictures, below which an attack's figure is no evidence
TABLES: dict[str, Callable[..., list[str]]] = {}


class Stale(ValueError):
    """A marker that names no figure or no table."""


def pages() -> list[Path]:
    """Every page that may hold figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def read(name: str) -> Any:
    """The figures in ``docs/NAME``."""
    return json.loads((ROOT / "docs" / name).read_text())


def said(value: Any, form: str = ".2f") -> str:
    """A figure as pages say it: an interval behind its centre, a number, or that there is none."""
    if value is None:
        return UNKNOWN
    if isinstance(value, dict):
        centre = next(name for name in CENTRES if name in value)
        return f"{value[centre]:{form}} [{value['low']:{form}}, {value['high']:{form}}]"
    return value if isinstance(value, str) else f"{value:{',' if type(value) is int else form}}"


def figure(spec: str) -> str:
    """What ``FILE PATH [/ UNIT] [as FORMAT]`` names; the path goes by keys with dots between."""
    found = SPEC.fullmatch(spec)
    if not found or not (ROOT / "docs" / found["file"]).exists():
        raise Stale(f"{spec!r}: expected FILE PATH [/ UNIT] [as FORMAT], of a file in docs/")
    value = read(found["file"])
    for key in found["path"].split("."):
        if not isinstance(value, dict) or key not in value:
            raise Stale(f"{spec!r}: nothing is called {key!r} there")
        value = value[key]
    if isinstance(value, dict) and not {"low", "high"} <= set(value):
        raise Stale(f"{spec!r}: no figure but a group of them: {', '.join(value)}")
    value = value / float(found["unit"]) if found["unit"] else value
    return format(value, found["form"]) if found["form"] and not isinstance(value, dict) else said(value, found["form"] or ".2f")


def filled(text: str, page: Path) -> str:
    """The text of a page with every marked figure as it is in the JSON today."""

    def table(match: re.Match[str]) -> str:
        name, *given = match[2].split()
        if name not in TABLES:
            raise Stale(f"{name!r}: no table; there are {', '.join(sorted(TABLES))}")
        lines = TABLES[name](*([page] if name == "made" else []), *given)
        return "\n".join([match[1], *lines, "", match[4]])

    if re.search(r"^ *<!-- figure", text, re.MULTILINE):
        raise Stale("a figure begins a line: its comment would end the paragraph; put a word before it")
    return TABLE.sub(table, FIGURE.sub(lambda match: match[1] + figure(match[2]) + match[4], text))


def as_table(make: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Let pages name a table by the function that makes its lines."""
    TABLES[make.__name__] = make
    return make


def lines_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (head, ["---"] * len(head), *rows)]


# ------------------------------------------------------------------------------------- any page


@as_table
def made(page: Path, *files: str) -> list[str]:
    """Who made a page's figures: file, command, version."""
    rows = []
    for name in files:
        figures = read(name)
        version = figures.get("version") or (figures.get("settings") or {}).get("version") or "not recorded"
        command = "; ".join(f"`{part.strip()}`" for part in re.split(r"&&|;", figures["command"]))
        rows.append([f"[{name}]({os.path.relpath(ROOT / 'docs' / name, page.parent)})", command, version])
    return lines_of(["figures", "made by", "version"], rows)


# ------------------------------------------------------------------------------------- training


@as_table
def demo_full() -> list[str]:
    found = read("demo_full.json")["adherence"]
    rows = {
        "nothing: the base alone": "no_control", "**sealed records**": "sealed",
        "the same private pictures in the clear": "centralised", "as many public pictures in the clear": "public",
    }  # fmt: skip
    return lines_of(["trained on", "A, 95 % interval"], [[label, said(found.get(arm))] for label, arm in rows.items()])


@as_table
def generation() -> list[str]:
    ways = read("generation.json")["ways"]
    labels = {"c": "c, in all steps: what is used", "alpha_m c": "alpha_m c, in all steps", "drawn c_m": "one drawn c_m"}
    rows = [
        [labels.get(name, name), said(way, ".3f"), said(way["ratio"], ".3f") if "ratio" in way else "1"]
        for name, way in sorted(ways.items(), key=lambda item: -item[1]["mean"])
    ]
    return lines_of(["shown", "A, 95 % interval", "over alpha_m c, paired"], rows)


def _arm(n: int | None, m: int | None) -> Any:
    return read("sweep.json")["arms"].get(f"n={n} m={m}")


def _steps(letter: str) -> list[int | None]:
    found = re.findall(rf"\b{letter}=(\d+)", " ".join(read("sweep.json")["arms"]))
    return [None, *sorted({int(step) for step in found})]


@as_table
def sweep() -> list[str]:
    columns = _steps("m")
    rows = [["unsealed" if n is None else str(n), *(said(_arm(n, m)) for m in columns)] for n in _steps("n")]
    return lines_of(["n \\ m", *("not noised" if m is None else str(m) for m in columns)], rows)


@as_table
def sweep_shown() -> list[str]:
    arms = {m: _arm(600, m) for m in _steps("m") if m is not None}
    rows = [
        [str(m), said(arm), said(arm["shown_c"]), said(arm["shown_c"]["ratio"], ".3f")]
        for m, arm in arms.items()
        if arm and "shown_c" in arm
    ]
    return lines_of(["m", "shown alpha_m c", "shown c", "c over alpha_m c, paired"], rows)


# ---------------------------------------------------------------------------------- the schemes

SCHEMES = {"no_control": "no control", "sealed": "**`sealed`**", "sealed-derived": "`sealed`, derived (n = 800)"}


def _arms() -> list[str]:
    from sfumato.studies.training.arms import ARMS

    return ["no_control", *ARMS]


@as_table
def schemes() -> list[str]:
    found, rows = read("compare.json"), []
    for name in _arms():
        own, shifted = (found[style].get(name, {}) for style in ("schemes", "shifted"))
        sent = ["-"] * 6
        if own.get("private_pictures"):
            sent = [f"{own[f'bytes_{way}_per_picture']:,.0f}" for way in ("up", "down")]
            sent += [f"{own['messages_up']} / {own['messages_down']}", "yes" if own["online"] else "no"]
            sent += [f"{own['owner_peak_bytes'] / 1e6:,.0f}", f"{own['owner_seconds']:.1f}"]
        rows.append([SCHEMES.get(name, f"`{name}`"), *(said(one.get("adherence")) for one in (own, shifted)), *sent])
    head = ["scheme", "A, own", "A, shifted", "bytes up a picture", "bytes down", "messages up / down", "stays online"]
    return lines_of([*head, "owner's peak, MB", "owner's seconds"], rows)


@as_table
def ablations() -> list[str]:
    found = read("compare.json")["schemes"]
    labels = {
        "oneway": "as published", "oneway-identity": "f is the identity", "oneway-empty": "the UNet reads the empty prompt, not zeros",
        "unsealed": "picture and condition apart, the empty prompt, no noise",
        "sealed-int8": "`sealed`, rounded to int8 after the noise", "fedprox": "`fedavg` with mu = 0.01",
    }  # fmt: skip
    called = {"unsealed": "unsealed-every-t"}  # since these figures were made
    rows = [[f"`{called.get(n, n)}`: {t}", said(found.get(n, {}).get("adherence"))] for n, t in labels.items()]
    return lines_of(["ablation, own style", "A"], rows)


@as_table
def schemes_full() -> list[str]:
    from sfumato.studies.training.compare import DOMAINS, YOURS

    runs, rows = read("compare_full.json")["runs"], []
    drawn = [domain for domain in DOMAINS if domain != YOURS]
    for name in _arms():
        cells, distances = [], []
        for domain in drawn:
            first, second = (runs.get(f"{domain}/{name}/{seed}") for seed in (0, 1))
            cells.append(said(first and first["adherence"]) + (f"; {second['adherence']['mean']:.2f}" if second else ""))
            distances.append(f"{first['fd_efflite0']['value']:.0f}" if first else "-")
        rows.append([SCHEMES.get(name, f"`{name}`"), *cells, " / ".join(distances)])
    return lines_of(["scheme", "A, own", "A, shifted", "A, Fill50K", "FD: own / shifted / Fill50K"], rows)


WORTH = {
    "no_control": "no ControlNet", "unsealed": "**`unsealed`**: in the clear, t above n: the ceiling of `sealed`",
    "unsealed-every-t": "the same, every t", "public-styles": "three public styles", "public-varied": "three public styles, varied",
    "synthetic": "the base's own samples", "sealed": "`sealed` (600, 200)", "sealed-derived": "`sealed`, derived (n = 800)",
    "unvoted": "a pool that nobody voted on", "private_evolution:epsilon=1000000": "votes, next to no noise",
}  # fmt: skip


@as_table
def worth() -> list[str]:
    runs, rows = read("worth.json")["runs"], []
    known = dict.fromkeys(key.split("/")[1] for key in runs)
    order = sorted(known, key=lambda name: list(WORTH).index(name) if name in WORTH else len(WORTH))
    for name in [name for name in order if not name.startswith("sealed-clear")]:
        first = {domain: runs.get(f"{domain}/{name}/0") for domain in ("shifted", "fill50k")}
        others = {domain: [runs[key] for k in (1, 2) if (key := f"{domain}/{name}/{k}") in runs] for domain in first}
        cells = [
            "; ".join([said(one and one["adherence"]), *(f"{row['adherence']['mean']:.2f}" for row in others[domain])])
            for domain, one in first.items()
        ]  # fmt: skip
        shifted = first["shifted"]
        stated = [row for row in (shifted or first["fill50k"] or {}).get("epsilon", {}).values()]
        promise = "nothing private" if not stated else "none"
        if stated and stated[0]["guarantee"] != "none":
            promise = f"epsilon {stated[0]['epsilon']:.3g} a {stated[0]['unit']}" if stated[0]["epsilon"] < 1000 else "none to speak of"
        label = WORTH.get(name) or name.replace("private_evolution:", "votes, ").replace("epsilon=", "epsilon ")
        rows.append([label, promise, cells[0], said(shifted and shifted["style"]["share"]), cells[1]])
    return lines_of(["trained on", "guarantee", "A, shifted", "its style, shifted", "A, Fill50K"], rows)


@as_table
def worth_gap() -> list[str]:
    runs = read("worth.json")["runs"]
    steps = {
        "unsealed-every-t": "in the clear, every t", "unsealed": "t above n only", "sealed-clear-picture": "and noise on the condition",
        "sealed-clear-condition": "noise on the picture in its place", "sealed": "noise on both",
    }  # fmt: skip
    cells = {name: [(runs.get(f"{domain}/{name}/0") or {}).get("adherence") for domain in ("shifted", "fill50k")] for name in steps}
    return lines_of(["what changes", "A, shifted", "A, Fill50K"], [[what, *map(said, cells[name])] for name, what in steps.items()])


@as_table
def sd15() -> list[str]:
    rows = []
    for name, found in sorted(read("sd15.json")["schemes"].items(), key=lambda item: -item[1]["total_after_epochs"]["100"]):
        up, down = (f"{found[f'bytes_{way}_per_picture_and_epoch']:,.0f}" for way in ("up", "down"))
        totals = [f"{value / 1e6:,.3g}" if value < 1e9 else f"{value / 1e6:,.0f}" for value in found["total_after_epochs"].values()]
        holds = f"{found['owner_holds_bytes'] / 1e9:.2f} GB" if found["owner_holds_bytes"] else "-"
        up += " at most" if "at most" in found["formula"] else ""
        rows.append([name, f"{up}, once" if found["once"] else up, down, *totals, holds])
    head = ["scheme", "up, bytes a picture and epoch", "down", "MB after 1 epoch", "after 10", "after 100", "an owner holds"]
    return lines_of(head, rows)


@as_table
def memory() -> list[str]:
    rows = [
        [what, *(f"{ways[way]['above'] / 1e9:.2f} GB" for way in ("by budget", "at once"))]
        for what, ways in read("memory.json")["peak"].items()
    ]
    return lines_of(["what", "by budget", "at once"], rows)


# ---------------------------------------------------------------------------------- the attacks


def best_attack(attacks: dict[str, Any], target: str, pool: str) -> str:
    """The best that any attack with records enough got."""
    found = []
    for name, entry in attacks.items():
        for variant, one in entry.get("variants", {"": entry}).items():
            cell = one["pools"].get(pool, {}).get("targets", {}).get(target)
            if cell and cell["n"] >= ENOUGH:
                found.append((cell["score"], f"{said(cell)} `{f'{name}:{variant}' if variant else name}`"))
    return max(found, key=lambda one: one[0])[1] if found else "-"


@as_table
def attacks() -> list[str]:
    from sfumato.studies.records.matrix import MatrixConfig

    table = read("matrix.json")["matrix"]
    columns = [("picture", "recombined"), ("condition", "recombined"), ("person", "recombined"), ("person", "unseen_part")]
    rows = [
        [scheme, *(best_attack(table[scheme], *column) if scheme in table else UNKNOWN for column in columns)]
        for scheme in MatrixConfig().schemes
    ]
    return lines_of(["scheme", "picture (SSIM)", "condition (F1)", "person, recombined", "person, unseen part"], rows)


@as_table
def attacks_effort() -> list[str]:
    rows, runs = [], (read("matrix.json"), read("matrix_full.json"))
    for name in ("pooling:records", "direct_identity", "own_controlnet:public", "inverse_network", "diffusion_prior:ddim"):
        cells = [run["cells"].get(f"{scheme}/{name}", {}) for scheme in ("sealed", "sealed-derived") for run in runs]
        people = [cell["pools"]["recombined"]["person"] if cell.get("outcome") == "scored" else None for cell in cells]
        rows.append([f"`{name}`", *("-" if one is None else said(one) for one in people)])
    head = ["sealed, quick", "sealed, full", "sealed-derived, quick", "sealed-derived, full"]
    return lines_of(["people, recombined", *head], rows)


@as_table
def matrix() -> list[str]:
    from sfumato.judge.report import matrix as report

    return report.markdown(read("matrix.json")).splitlines()


# ------------------------------------------------------------------------------- before sharing


@as_table
def audit_leaks() -> list[str]:
    from sfumato.sharing.rules import RULES

    rows = [
        [RULES[rule].level, f"`{rule}`", RULES[rule].reveals, f"{one['found']} of {one['planted']}", str(one["left"])]
        for rule, one in read("audit.json")["leaks"].items()
    ]
    order = ("high", "medium", "low")
    rows.sort(key=lambda row: (order.index(row[0]), row[1]))
    return lines_of(["level", "rule", "what it reveals", "found in files", "left after scrub"], rows)


@as_table
def audit_dialects() -> list[str]:
    rows = [
        [name, one["said"], f"{one['found']} of {one['planted']}", str(one["left"]), ", ".join(one["alarms"]) or "none", one["change"]]
        for name, one in read("audit.json")["dialects"].items()
    ]
    return lines_of(["as written by", "what audit calls it", "leaks found", "left", "found in a clean file", "change of the weights"], rows)


# --------------------------------------------------------------------------------- the frontier


@as_table
def frontier() -> list[str]:
    rows = [
        [f"`{name}`", said(found["adherence"]), said(found["person"], ".3f"), f"`{found['person']['attack'].split(',')[0]}`"]
        for name, found in read("frontier.json")["points"].items()
    ]
    return lines_of(["point", "A, the base's own style", "people", "best attack"], rows)


@as_table
def beside(style: str) -> list[str]:
    rows = [[name.replace("_", " "), said(mark)] for name, mark in read("frontier.json")[style].items() if ":" not in name]
    return lines_of(["trained on", "A"], rows)


@as_table
def domain() -> list[str]:
    (found,) = json.loads((ROOT / "src/sfumato/assets/domain.json").read_text()).values()
    rows = []
    for name, one in sorted(found["measured"].items(), key=lambda item: item[1]["beyond"]):
        error = f"{100 * one['error']['beyond']:.0f} %" if "error" in one else UNKNOWN
        rows.append([name, f"{100 * one['beyond']:.0f} %", error, str(one["n"])])
    return lines_of(["pictures", "latents beyond", "VAE's error beyond", "n"], rows)


@as_table
def levels() -> list[str]:
    found, rows = read("frontier.json"), []
    for name, level in found["presets"].items():
        second = level.get("again", level)["person"]
        rows.append([
            name, f"`{level['scheme']}`", said(level["adherence"]), said(level["share_of_centralised"]), said(level["person"], ".3f"),
            said(second, ".3f"), f"`{second['attack'].split(',')[0]}`", said(found["shifted"].get(level["scheme"])),
            "yes" if level["met"] else "no",
        ])  # fmt: skip
    head = ["level", "seals as", "A, own style", "share of centralised", "people, first look", "people, second look"]
    return lines_of([*head, "best attack, second look", "A, shifted style", "met"], rows)


@as_table
def moved() -> list[str]:
    ways = read("moved.json")["ways"]

    def people(name: str) -> str:
        found = ways[name].get("people", ways["plain"]["people"])  # a way that leaves what leaves as it was
        return said(max((cell for pools in found.values() for cell in pools.values() if cell), key=lambda cell: cell["score"]), ".3f")

    names = ["plain", *(name for name in ways if name != "plain")]
    return lines_of(["way", "A, own style", "A, shifted style", "people"], [
        [name, said(ways[name]["own"]), said(ways[name]["shifted"]), people(name)] for name in names
    ])  # fmt: skip


@as_table
def derived() -> list[str]:
    found = read("compare.json")
    names = [name for name in found["schemes"] if name.startswith("sealed-derived")]
    rows = [[f"`{name}`", *(said(found[style].get(name, {}).get("adherence")) for style in ("schemes", "shifted"))] for name in names]
    return lines_of(["records", "A, own style", "A, shifted style"], rows)


# ---------------------------------------------------------------------------------- the weights


def shown(name: str) -> str:
    """An attack and, outside the quotes, what it was told."""
    attack, _, rest = name.partition(",")
    return f"`{attack}`{',' + rest if rest else ''}"


@as_table
def owner_loops() -> list[str]:
    rows = []
    for name, loop in read("owner_loop.json")["folders"].items():
        for one in loop["attacked"]:
            gates = {gate: found["result"] for gate, found in one["gates"].items()}
            best = {gate: _way(one["gates"].get(gate, {}).get("found", "")) for gate in ("picture", "condition", "person")}
            what = f"{'trial' if one['trial'] else 'release'}, {one['step']}"
            open_ = [f"{gate} {held}" for gate, held in gates.items() if held != "passed"]
            rows.append([name, what, f"{one['audited']} of {one['records']}", *best.values(), ", ".join(open_) or "all passed"])
    head = ["folder", "sealed as, at step", "records attacked", "picture", "condition", "person", "gates that did not pass"]
    return lines_of(head, rows)


def _way(found: str) -> str:
    """The figure and interval that a gate quotes, and whose they are."""
    quoted = re.search(r"(?:ran|here), ([\w:]+), got ([\d.]+)(?: of the way)?, sampling interval (\[[^]]+\])", found)
    return f"{quoted[2]} {quoted[3]}, `{quoted[1]}`" if quoted else "not asked"


@as_table
def weights(file: str) -> list[str]:
    found = read(file)
    again = read("weights.json")["attacks"] if file == "weights_first.json" else {}  # asked again: not said twice
    rows = [("the owner, with the trigger", found["owner"]), ("the same prompt on the base", found["floor"])]
    rows += [(shown(n), a) for n, a in sorted(found["attacks"].items(), key=lambda item: -item[1]["top1"]) if n not in again]
    head = ["", "top-1, 95 % interval", "recombined / unseen part", "identity similarity"]
    head += ["distance to the nearest private picture / to another of the person", "skin / hair", "n"]
    return lines_of(head, [
        [
            label, said(a), " / ".join(f"{a['pools'][pool]['top1']:.2f}" for pool in ("recombined", "unseen_part")),
            said(a["identity_similarity"]), " / ".join(f"{a[name]['mean']:.3f}" for name in ("nearest_private", "nearest_other")),
            f"{a['skin']['mean']:.2f} / {a['hair']['mean']:.2f}", str(a["n"]),
        ]
        for label, a in rows
    ])  # fmt: skip


@as_table
def weights_lineup() -> list[str]:
    found = read("weights_lineup.json")
    rows = []
    for name, one in {found["attack"]: found, **found["others"]}.items():
        pools = " / ".join(f"{one['pools'][pool]['top1']:.2f}" for pool in ("recombined", "unseen_part"))
        both = one["all"]
        rows.append([f"`{name}`", said(both), pools, f"{both['top5']:.2f}", f"{both['mean_rank']:.1f}", str(both["n"])])
    return lines_of(["", "top-1, 95 % interval", "recombined / unseen part", "top-5", "mean rank", "n"], rows)


@as_table
def weights_pairs(encoder: str) -> list[str]:
    found, ours = read("weights.json"), f"network_autoencoder:{encoder}"
    others = [name for name in found["attacks"] if name.startswith(("prior_sampling", "gradient_matching"))]
    others += ["network_autoencoder:hypernet", "network_autoencoder:constant", f"{ours}, of another's file"]
    pairs = {other: found["pairs"].get(f"{ours} / {other}") for other in others}  # who names more people stands first
    return lines_of([f"`{encoder}` against", "difference in top-1, 95 % interval", "p", "corrected"], [
        [shown(other), said(pair), *((f"{pair['p']:.4f}", f"{pair['adjusted_p']:.3f}") if pair else ("-", "-"))]
        for other, pair in pairs.items()
    ])  # fmt: skip


@as_table
def encoders() -> list[str]:
    learns = {
        "invariant": "all 16 kept steps, told the step", "invariant-unstepped": "all 16 kept steps, not told",
        "invariant-final": "the final adapter of each person", "probe": "all 16 kept steps, told the step",
        "probe-wide": "the same, twice as wide", "probe-kl0": "the same, KL weight 0 in place of 1e-5",
        "probe-kl1e-2": "the same, KL weight 1e-2",
        "probe-200": "200 people, 20 of them set aside", "probe-100": "100 people, 10 of them set aside",
        "linear": "all 16 kept steps, told the step", "hypernet": "all 16 kept steps, told the step",
        "hypernet-published": "the same, `--as-published`; every t, so that its losses are of another scale",
        "hypernet-final": "the final adapter of each person", "constant": "nothing",
    }  # fmt: skip
    found, rows = read("weights_encoders.json")["attackers"], []
    for name in [*learns, *(name for name in found if name not in learns)]:
        if name not in found:
            rows.append([f"`{name}`", learns[name], *[UNKNOWN] * 5])
            continue
        best = min(found[name]["curve"], key=lambda one: one[2])
        rows.append([
            f"`{name}`", learns.get(name, "-"), f"{best[2]:.4f}", f"{best[3]:.4f}", f"{int(best[0]):,}", _attacked(name),
            f"{found[name]['bytes'] / 1e6:.1f} MB",
        ])  # fmt: skip
    return lines_of(["attacker", "learns from", "loss, own embedding", "loss, another's", "at step", "top-1", "file"], rows)


def _attacked(name: str) -> str:
    for file, note in (("weights.json", ""), ("weights_first.json", " (first look)")):
        for row in (f"network_autoencoder:{name}", f"network_autoencoder:{name.partition('-')[0]}, {name}"):
            if row in read(file)["attacks"]:
                return said(read(file)["attacks"][row]) + note
    return "not attacked"


@as_table
def many_lora() -> list[str]:
    found = read("many_lora.json")
    rates = found["adapters_per_hour"]["stacked"]
    return lines_of(["K", "adapters an hour", "over the faster baseline"], [
        [k, f"{rate:.0f}", f"{found['speedup'][k]:.2f}"] for k, rate in rates.items()
    ])  # fmt: skip


# -------------------------------------------------------------------------------------- running


def small(data: bytes) -> bytes:
    """A PNG with a palette of 128 colours, or as it was where that is no smaller."""
    from PIL import Image

    made = io.BytesIO()
    colours = Image.open(io.BytesIO(data)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    colours.save(made, "png", optimize=True)
    return min(data, made.getvalue(), key=len)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a page is stale")
    parser.add_argument("--pictures", action="store_true", help="make the PNGs of docs/ small")
    args = parser.parse_args(given)
    stale = []
    for page in pages():
        text = page.read_text()
        try:
            now = filled(text, page)
        except Stale as error:
            raise SystemExit(f"{page.relative_to(ROOT)}: {error}") from error
        if now != text:
            stale.append(str(page.relative_to(ROOT)))
            if not args.check:
                page.write_text(now)
    if args.pictures and not args.check:
        for picture in (ROOT / "docs").glob("*.png"):
            picture.write_bytes(small(picture.read_bytes()))
    print(f"{'stale' if args.check else 'filled in'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if args.check and stale else 0)


if __name__ == "__main__":
    main()
