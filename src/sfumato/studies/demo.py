"""The main job on invented people, end to end: two owners seal, a server trains, somebody
generates, a judge scores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sfumato._version import __version__
from sfumato.core.artifact import write_atomic, write_json
from sfumato.core.device import choose_device, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.progress import Progress, Tell, TellOf
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.judge.report import pages
from sfumato.judge.verdict import Verdict
from sfumato.pictures import store
from sfumato.records import privacy, reader
from sfumato.schemes import centralised
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train
from sfumato.studies.owners import OWNERS, write_folder
from sfumato.studies.training.held_out import Arm, HeldOut

STYLE = "open-peeps"
_MARK = ".sfumato-demo.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """The size of the demo, which seals as ``sfumato seal`` does by itself. ``full`` adds the arms
    ``public`` and ``centralised``."""

    pictures: int = 300
    conditions: int = 64
    steps: int = 200
    batch: int = 32
    condition: str = "canny"
    full: bool = False
    seed: int = 0


def run(config: DemoConfig, out: Path, *, tell: TellOf = lambda what, done, total: None) -> dict[str, Any]:
    """Run the demo into ``out`` and return its figures; ``tell(what, done, total)`` reports
    progress."""
    started = time.monotonic()
    _own_folder(out)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)  # a demo starts afresh: its owners, keys and ledgers are invented
    work.mkdir()
    base = load_base(device=choose_device())
    folders = {owner: _private_folder(owner, work / "owners" / owner, config, tell) for owner in OWNERS}

    sealed = []
    for owner, folder in folders.items():
        arguments = ["seal", str(folder), "-o", str(work / "records" / owner), "--owner", owner, "--condition", config.condition]
        sealed.append(_own_process(arguments, work, partial(tell, f"{owner} seals")))

    records = [str(work / "records" / owner) for owner in folders]
    arguments = ["train", *records, "-o", str(out / "controlnet"), "--steps", str(config.steps), "--batch", str(config.batch)]
    shutil.rmtree(out / "controlnet", ignore_errors=True)
    server = _own_process([*arguments, "--seed", str(config.seed)], work, partial(tell, "the server trains"))

    controls = {"sealed": load_latent_controlnet(out / "controlnet", device=base.unet.device)}
    if config.full:
        controls |= _clear_arms(list(folders.values()), base, config, work, tell)
    figures, pictures = _judge(base, controls, config, tell)
    figures |= {
        "bytes_per_picture": float(np.mean([report["bytes_per_picture"] for report in sealed])),
        "records": sum(report["records"] for report in sealed),
        "owner_peak_bytes": max(report["peak_bytes"] for report in sealed),
        "server_peak_bytes": server["peak_bytes"],
        "owner_seconds": max(report["seconds"] for report in sealed),
        "server_seconds": server["seconds"],
        "privacy": sealed[0]["privacy"],
        **{name: sealed[0][name] for name in ("level", "measured", "seal_step", "condition_step")},
        "config": {name: getattr(config, name) for name in config.__slots__},
        "version": __version__,
        "report": str(out / "report.html"),
    }
    figures["seconds"] = time.monotonic() - started
    _report(out, base, folders, [Path(r) for r in records], figures, pictures, config)
    write_json(out / "report.json", figures)
    shutil.rmtree(work / "clear", ignore_errors=True)
    return figures


def bars(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The bars of ``--full``: the ceiling is worth the name, and sealing keeps nine tenths of
    it."""
    if "ratio" not in figures:
        return []
    ratio, ceiling = figures["ratio"], figures["adherence"]["centralised"]["mean"]
    return [
        {"met": ceiling >= 0.5, "text": f"centralised A >= 0.5: {ceiling:.2f}"},
        {"met": ratio["mean"] >= 0.9, "text": f"sealed / centralised >= 0.9: {ratio['mean']:.2f}"},
        {"met": ratio["low"] >= 0.8, "text": f"lower bound of that ratio >= 0.8: {ratio['low']:.2f}"},
    ]


def _verdict(figures: dict[str, Any]) -> Verdict:
    """Whether records taught control, by the intervals; what that does not say; and an owner's next
    command."""
    sealed, alone = figures["adherence"]["sealed"], figures["adherence"]["no_control"]
    taught = sealed["low"] > alone["high"]
    met = all(bar["met"] for bar in bars(figures))
    headline = (
        f"From sealed records alone the server learned {'control' if taught else 'nothing that can be told from no control'}: "
        f"adherence {sealed['mean']:.2f}, without control {alone['mean']:.2f} (0 is chance, 1 what the encoder can keep)."
    )
    notes = ("No attack was run here: how much of a person comes back from such records was not measured.",)
    commands = ("sfumato seal PICTURES -o RECORDS --owner OWNER", "sfumato attack RECORDS --truth PICTURES")
    return Verdict("passed" if taught and met else "open", headline, notes, commands)


def _own_folder(out: Path) -> None:
    """Make ``out``, or take it over if an earlier demo made it; never somebody's own folder."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _MARK).exists())):
        raise UserError(
            f"{out}: not empty, and not a demo's", expected="a new or empty folder: a demo replaces what is in it", fix="pass another -o"
        )
    write_json(out / _MARK, {"made_by": "sfumato demo"})


def _private_folder(owner: str, folder: Path, config: DemoConfig, tell: TellOf) -> Path:
    """Write an owner's pictures as a folder in the imagefolder layout."""
    tell("drawing the owners' pictures", list(OWNERS).index(owner), len(OWNERS))
    pictures = store.load(STYLE, OWNERS[owner], config.pictures, seed=config.seed, per_identity=4)
    return write_folder(pictures, folder)


def _own_process(arguments: list[str], work: Path, on_step: Tell) -> dict[str, Any]:
    """Run a command as its user would, in a process of its own, so that its memory is its own."""
    environment = {**os.environ, "SFUMATO_HOME": str(work / "home"), "SFUMATO_PROGRESS": "lines"}
    command = [sys.executable, "-m", "sfumato.cli.main", *arguments, "--json"]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stderr:
            words = line.split()
            if len(words) == 3 and words[0] == "progress":
                on_step(int(words[1]), int(words[2]))
            else:
                said.append(line)
        answer = process.stdout.read()
    if process.returncode in (-signal.SIGINT, 130):
        raise KeyboardInterrupt
    if process.returncode:
        why = "it was killed; memory may have run out" if process.returncode < 0 else "".join(said[-20:]).strip()
        raise UserError(f"sfumato {arguments[0]} ended with exit code {process.returncode}: {why}")
    report: dict[str, Any] = json.loads(answer)
    return report


def _clear_arms(folders: list[Path], base: Base, config: DemoConfig, work: Path, tell: TellOf) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The arms that keep nothing private: the same steps on public pairs, and on the owners' own
    pictures in the clear."""
    public = store.load(STYLE, "public", config.pictures * len(folders), seed=config.seed + 1, per_identity=4)
    clear = {
        "public": centralised.from_pictures(public.images, public.captions, base, condition=config.condition),
        "centralised": centralised.from_folders(folders, base, condition=config.condition),
    }
    found = {}
    for name, (records, captions) in clear.items():

        def on_step(progress: Progress, name: str = name) -> None:
            tell(f"training {name}", progress.step, progress.steps)

        settings = TrainConfig(steps=config.steps, batch=config.batch, seed=config.seed, precision=choose_precision())
        trained = train(records, base, work / "clear" / name, settings, captions=captions, on_step=on_step)
        found[name] = load_latent_controlnet(trained, device=base.unet.device)
    return found


def _judge(
    base: Base, controls: dict[str, tuple[Any, dict[str, Any]]], config: DemoConfig, tell: TellOf
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Generate under held-out conditions in every arm, and score the edges of what came out."""
    held_out = HeldOut.draw(base, STYLE, config.conditions, condition=config.condition, seed=config.seed)
    results: dict[str, Arm] = {}
    precision = choose_precision(base.unet.device)
    for name, (controlnet, settings) in {"no_control": (None, None), **controls}.items():
        on_step = partial(tell, f"generating {name.replace('_', ' ')}")
        results[name] = held_out.score(base, controlnet, settings, precision=precision, on_step=on_step)
    figures: dict[str, Any] = {
        "adherence": {name: arm.adherence for name, arm in results.items()},
        "f1": {name: float(arm.f1.mean()) for name, arm in results.items()},
        "ssim": {name: arm.ssim for name, arm in results.items()},
    }
    figures["f1"] |= {"shuffled": float(results["sealed"].shuffled.mean()), "vae_ceiling": float(held_out.f1_vae.mean())}
    if "centralised" in results:
        figures["ratio"] = held_out.ratio(results["sealed"], results["centralised"]) | {"of": "sealed / centralised"}
    pictures = {"real": held_out.images, "condition": held_out.conditions}
    return figures, pictures | {name: arm.pictures for name, arm in results.items()}


LABELS = {
    "no_control": "no control: the base alone",
    "public": "public: the same steps on public pairs, in the clear",
    "centralised": "centralised: the private pictures in the clear (no privacy)",
    "sealed": "sealed: from records alone",
}


def _report(
    out: Path,
    base: Base,
    folders: dict[str, Path],
    records: list[Path],
    figures: dict[str, Any],
    pictures: dict[str, np.ndarray],
    config: DemoConfig,
) -> None:
    columns = 10
    private = [
        (
            f"{owner} ({OWNERS[owner].replace('_', ' ')})",
            np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))[: 4 * columns : 4]]),
        )
        for owner, folder in folders.items()
    ]
    seen = []
    for folder in records:
        loaded = reader.load([folder], codec=base)
        seen += [(f"{folder.name}: pictures", base.decode_pixels(loaded.z_n[:columns]))]
        if not loaded.derived:
            seen += [(f"{folder.name}: conditions", base.decode_pixels(loaded.c_m[:columns]))]
    made = [("a real picture, unseen by all", pictures["real"]), ("its condition", pictures["condition"])]
    made += [(LABELS[arm], pictures[arm]) for arm in LABELS if arm in pictures]
    sheets = {"private": private, "seen": seen, "made": made}
    rows = [
        {"label": LABELS[arm], **figures["adherence"][arm], "f1": figures["f1"][arm], "ssim": figures["ssim"][arm]}
        for arm in LABELS
        if arm in figures["adherence"]
    ]
    costs = [
        {"label": "an owner: seal", "seconds": figures["owner_seconds"], "peak": figures["owner_peak_bytes"]},
        {"label": "the server: train", "seconds": figures["server_seconds"], "peak": figures["server_peak_bytes"]},
        {"label": "the whole demo", "seconds": figures["seconds"], "peak": None},
    ]
    values = {
        **{name: pages.strips(several, columns=columns) for name, several in sheets.items()},
        "verdict": _verdict(figures).as_json(),
        "owners": list(folders),
        "records": figures["records"],
        **{name: figures[name] for name in ("level", "measured", "seal_step", "condition_step")},
        "bytes_per_picture": figures["bytes_per_picture"],
        "guarantee": privacy.describe(figures["privacy"]),
        "arms": rows,
        "f1": figures["f1"],
        "bars": bars(figures),
        "costs": costs,
        "command": "sfumato demo" + (" --full" if config.full else ""),
        "version": __version__,
    }
    pages.write_page(out / "report.html", "demo.html", values)
    everything = pages.contact_sheet([*private, *seen, *made], columns=columns)
    write_atomic(out / "report.png", pages.png(everything))
