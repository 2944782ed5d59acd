"""Adherence over seal steps n and condition steps m, beside no control, public and centralised.

    python recipes/sweep_seal_steps.py            # ~3 minutes an arm on two cores; run again to resume
    python recipes/sweep_seal_steps.py --plot     # only draw docs/sweep.png from docs/sweep.json

Every arm: the same private pictures, server steps, seed, held-out conditions, prompts and starting noise. Where a condition was noised,
the network is shown ``alpha_m c``, the mean of what it was trained on; at one n also ``c`` itself: which is better the further m goes?
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from sfumato._version import __version__
from sfumato.core.artifact import write_json
from sfumato.core.device import choose_precision
from sfumato.core.randomness import InsecureNoise
from sfumato.defences import sealed_noise
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.schedule import CLEAN
from sfumato.pictures import store
from sfumato.records.reader import Records
from sfumato.schemes import centralised
from sfumato.server.fit import TrainConfig
from sfumato.server.train import Captioned, train
from sfumato.studies import demo
from sfumato.studies.training.held_out import HeldOut

SEAL_STEPS: tuple[int | None, ...] = (None, 200, 400, 600, 800)
CONDITION_STEPS: tuple[int | None, ...] = (None, 200, 400, 600)
SHOWN_C_AT = 600


def sealed(clean: Records, n: int | None, m: int | None, base: Base, seed: int) -> Records:
    """The records that owners would publish, from a repeatable source so that the sweep can be resumed."""
    noise = InsecureNoise(seed)
    z_n = sealed_noise.apply(clean.z_n[:], n, base.schedule, noise=noise).half().float()
    c_m = sealed_noise.apply(clean.c_m[:], m, base.schedule, noise=noise).half().float()
    steps = [torch.full((len(clean),), CLEAN if step is None else step) for step in (n, m)]
    return Records(z_n, c_m, steps[0], steps[1], (), ())


def run(args: argparse.Namespace) -> None:
    base = load_base()
    figures: dict[str, Any] = json.loads(args.json.read_text()) if args.json.exists() else {"arms": {}}
    settings = {"pictures": args.pictures, "steps": args.steps, "conditions": args.conditions, "style": demo.STYLE, "seed": args.seed,
                "precision": args.precision, "unet": base.unet_fingerprint}  # fmt: skip
    if figures.get("settings", settings) != settings:
        raise SystemExit(f"{args.json} was made with other settings or another base; move it away")
    figures |= {
        "settings": settings,
        "command": "python recipes/sweep_seal_steps.py",
        "version": __version__,
        "interval": "95 %, paired bootstrap over conditions",
    }
    held_out = HeldOut.draw(base, demo.STYLE, args.conditions, condition="canny", seed=args.seed)
    figures["f1_vae"] = float(held_out.f1_vae.mean())
    pools = [store.load(demo.STYLE, pool, args.pictures, seed=args.seed, per_identity=4) for pool in demo.OWNERS.values()]
    private, captions = centralised.from_pictures(
        np.concatenate([p.images for p in pools]), [c for p in pools for c in p.captions], base, condition="canny"
    )
    jobs: dict[str, tuple[Records, Captioned | None] | None] = {"no_control": None, "centralised": (private, captions)}
    seen = store.load(demo.STYLE, "public", 2 * args.pictures, seed=args.seed + 1, per_identity=4)
    jobs["public"] = centralised.from_pictures(seen.images, seen.captions, base, condition="canny")
    jobs |= {f"n={n} m={m}": (sealed(private, n, m, base, args.seed), None) for m in CONDITION_STEPS for n in SEAL_STEPS}
    for name, job in jobs.items():
        if name in figures["arms"]:
            continue
        started = time.monotonic()
        control: tuple[Any, Any] = (None, None)
        if job is not None:
            folder = args.work / name.replace(" ", "_")
            config = TrainConfig(steps=args.steps, seed=args.seed, held_out=0, precision=args.precision)
            net, found = load_latent_controlnet(train(job[0], base, folder, config, captions=job[1]))
            control = net, found | {"condition_scale": float(base.schedule.alpha(job[0].m.max()))}
            shutil.rmtree(folder)
        arm = held_out.score(base, *control)
        figures["arms"][name] = {**arm.adherence, "f1": float(arm.f1.mean()), "f1_shuffled": float(arm.shuffled.mean()),
                                 "ssim": arm.ssim, "seconds": time.monotonic() - started}  # fmt: skip
        if job is not None and int(job[0].m.max()) >= 0 and int(job[0].n.max()) == SHOWN_C_AT:
            clear = held_out.score(base, control[0], {**control[1], "condition_scale": 1.0})
            figures["arms"][name]["shown_c"] = {**clear.adherence, "ratio": held_out.ratio(clear, arm)}
        write_json(args.json, figures)
        print(f"{name}: A = {arm.adherence['mean']:.2f} [{arm.adherence['low']:.2f}, {arm.adherence['high']:.2f}]", flush=True)


def plot(args: argparse.Namespace) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = json.loads(args.json.read_text())["arms"]
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for m in CONDITION_STEPS:
        rows = [(x, found[f"n={n} m={m}"]) for x, n in enumerate(SEAL_STEPS) if f"n={n} m={m}" in found]
        if rows:
            means = [r["mean"] for _, r in rows]
            bars = [[r["mean"] - r["low"] for _, r in rows], [r["high"] - r["mean"] for _, r in rows]]
            axes.errorbar([x for x, _ in rows], means, yerr=bars, marker="o", capsize=3, label=f"condition step {m}")
    for name, style in (("centralised", "-"), ("public", "--"), ("no_control", ":")):
        if name in found:
            axes.axhline(found[name]["mean"], color="black", linestyle=style, linewidth=1, label=name.replace("_", " "))
    axes.set_xticks(range(len(SEAL_STEPS)), [str(n) for n in SEAL_STEPS])
    axes.set(xlabel="seal step n of the picture", ylabel="adherence A (95 % interval)")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(args.json.with_suffix(".png"), dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/sweep.json"))
    parser.add_argument("--work", type=Path, default=Path("build/sweep"))
    parser.add_argument("--pictures", type=int, default=400, help="of each of the two owners")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--conditions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default=choose_precision(), help="of the training: no or bf16")
    parser.add_argument("--plot", action="store_true")
    args = parser.parse_args()
    quiet_libraries()
    if not args.plot:
        run(args)
    plot(args)


if __name__ == "__main__":
    main()
