"""Measure a tiny base on people that it never saw, and write its figures, contact sheet and model card.

    python recipes/evaluate_tiny_base.py                       # the base that ships; minutes on two cores
    python recipes/evaluate_tiny_base.py --base build/other --docs build/other_docs

Everything measured is of the pool ``held_out``; the linear probes alone are fitted on ``public`` pictures.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from sfumato.conditions import canny
from sfumato.features.colour import colour_histogram
from sfumato.features.efficientnet import features
from sfumato.judge.metrics.frechet import frechet_distance
from sfumato.judge.metrics.probes import background_agreement, fit_probes, wilson
from sfumato.pictures import avatars

ROOT = Path(__file__).parent.parent
TURNS = ("open-peeps", "adventurer", "open-peeps", "big-ears")  # the styles in the shares in which the base was trained
PROBED = ("skin", "hair", "style")
BARS = {"vae_avatars_db": 25.0, "vae_edges_db": 20.0, "agreement": 0.8}
BOOTSTRAP = 2000


def draw(pool: avatars.Pool, n: int, *, seed: int) -> list[avatars.Picture]:
    """``n`` pictures of ``pool``, the styles taking turns, every picture of another person."""
    return [avatars.picture(TURNS[i % len(TURNS)], pool, i, seed=seed) for i in range(n)]


def stack(pictures: Sequence[avatars.Picture]) -> np.ndarray:
    return np.stack([p.image for p in pictures])


# ---------------------------------------------------------------- the VAE


@torch.inference_mode()
def reconstruct(pipe: Any, images: np.ndarray, *, batch: int) -> np.ndarray:
    """``images`` uint8 ``(N, H, W, 3)`` through the VAE by the posterior mean, as uint8 of the same shape."""
    parts = []
    for i in range(0, len(images), batch):
        x = torch.tensor(images[i : i + batch], device=pipe.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = pipe.vae.decode(pipe.vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        parts.append(((y + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def psnr(images: np.ndarray, made: np.ndarray, *, generator: np.random.Generator) -> dict[str, float]:
    """PSNR of the mean squared error over all pictures, with a 95 % bootstrap interval over pictures."""
    error = np.square(images.astype(np.float64) - made).mean(axis=(1, 2, 3))

    means = [error.mean(), *(error[generator.integers(len(error), size=len(error))].mean() for _ in range(BOOTSTRAP))]
    db = 10 * np.log10(255**2 / np.maximum(means, 1e-12))
    low, high = np.percentile(db[1:], [2.5, 97.5])
    return {"db": float(db[0]), "low": float(low), "high": float(high), "n": len(error)}


# ---------------------------------------------------------------- samples


def generate(pipe: Any, captions: list[str], args: argparse.Namespace) -> np.ndarray:
    """Sample one picture per caption by the plain pipeline call, uint8 ``(N, 64, 64, 3)``."""
    generator = torch.Generator("cpu").manual_seed(args.seed)
    parts = []
    for i in range(0, len(captions), args.batch):
        words = captions[i : i + args.batch]
        made = pipe(words, num_inference_steps=args.steps, guidance_scale=args.guidance, generator=generator, output_type="np").images
        parts.append(np.round(made * 255).astype(np.uint8))
        print(f"sampled {i + len(words)}/{len(captions)}", file=sys.stderr, flush=True)
    return np.concatenate(parts)


def with_colours(seen: np.ndarray, images: np.ndarray) -> np.ndarray:
    return np.hstack([seen, colour_histogram(images)])


def backgrounds(sets: dict[str, tuple[np.ndarray, list[avatars.Picture]]]) -> dict[str, Any]:
    """Share of pictures with the background that was asked for, by name of the set: images and the pictures asked for."""
    result = {}
    for which, (images, pictures) in sets.items():
        hits = background_agreement(images, [p.attributes["background"] for p in pictures])
        mean, low, high = wilson(int(hits.sum()), len(hits))
        result[which] = {"mean": mean, "low": low, "high": high, "n": len(hits)}
    return result


def agreement(sets: dict[str, tuple[np.ndarray, list[avatars.Picture]]], public: tuple[np.ndarray, list[avatars.Picture]]) -> Any:
    """Share of pictures that show what is asked for by linear probes, by attribute and by name of the set.

    Args:
        sets: by name: features, and the pictures whose attributes were asked for.
        public: features and pictures that the probes are fitted on.
    """
    result: dict[str, Any] = {}
    for name in PROBED:
        kept = _stated(public[1], name)
        probes = fit_probes(public[0][kept], [public[1][i].attributes for i in kept], [name])
        result[name] = {}
        for which, (seen, pictures) in sets.items():
            kept = _stated(pictures, name)
            mean, low, high = probes.accuracy(seen[kept], [pictures[i].attributes for i in kept])[name]
            result[name][which] = {"mean": mean, "low": low, "high": high, "n": len(kept)}
    return result


def _stated(pictures: Sequence[avatars.Picture], name: str) -> list[int]:
    """The pictures whose caption states attribute ``name``: of a bald person it names no hair colour."""
    return [i for i, p in enumerate(pictures) if name != "hair" or p.attributes["cut"] != "bald"]


# ---------------------------------------------------------------- the whole


def evaluate(args: argparse.Namespace) -> None:
    begun = time.monotonic()
    if min(args.vae_pictures, args.prompts, args.samples, args.probe_pictures) < 2 or args.prompts > args.samples:
        raise SystemExit("every count must be 2 at least, and --prompts at most --samples")
    pipe = StableDiffusionPipeline.from_pretrained(args.base, safety_checker=None).to(args.device, torch.float32)
    pipe.set_progress_bar_config(disable=True)
    bootstrap = np.random.default_rng(args.seed)

    real, other = (draw("held_out", args.samples, seed=seed) for seed in (args.seed, args.seed + 1))
    vae_pictures = stack(draw("held_out", args.vae_pictures, seed=args.seed + 2))
    edges = np.stack([canny.extract(image) for image in vae_pictures])
    vae = {
        name: psnr(images, reconstruct(pipe, images, batch=args.batch), generator=bootstrap)
        for name, images in (("avatars", vae_pictures), ("edges", edges))
    }
    print("vae", vae, file=sys.stderr, flush=True)

    sampling = time.monotonic()
    made = generate(pipe, [p.caption for p in real], args)
    sampling = time.monotonic() - sampling

    seen_real, seen_other, seen_made = (features(x, size=args.feature_size) for x in (stack(real), stack(other), made))
    public = draw("public", args.probe_pictures, seed=args.seed + 3)
    asked = slice(args.prompts)
    # What the VAE makes of the very pictures that were asked for: no sampler can show more than its decoder can.
    images = {"generated": made[asked], "reconstructed": reconstruct(pipe, stack(real[asked]), batch=args.batch), "real": stack(real)}
    wanted = {"generated": real[asked], "reconstructed": real[asked], "real": real}
    seen = {"generated": seen_made[asked], "reconstructed": features(images["reconstructed"], size=args.feature_size), "real": seen_real}
    drawn, decoded = stack(public), reconstruct(pipe, stack(public), batch=args.batch)
    fitted = [features(x, size=args.feature_size) for x in (drawn, decoded)]
    shown = {"background": backgrounds({which: (images[which], wanted[which]) for which in images})}
    shown |= agreement({which: (seen[which], wanted[which]) for which in images}, (fitted[0], public))
    coloured = {which: (with_colours(seen[which], images[which]), wanted[which]) for which in images}
    both = np.vstack([with_colours(fitted[0], drawn), with_colours(fitted[1], decoded)])
    sharp = agreement(coloured, (both, [*public, *public]))
    brittle = agreement(coloured, (with_colours(fitted[0], drawn), public))
    distance = {
        "name": "FD-EffLite0",
        "feature_size": args.feature_size,
        "n": args.samples,
        "generated_vs_real": frechet_distance(seen_made, seen_other),
        "real_vs_real": frechet_distance(seen_real, seen_other),
    }
    met = {
        "vae_avatars": vae["avatars"]["db"] >= BARS["vae_avatars_db"],
        "vae_edges": vae["edges"]["db"] >= BARS["vae_edges_db"],
        **{
            f"agreement_{name}": figures["generated"]["mean"] >= BARS["agreement"] * figures["real"]["mean"]
            for name, figures in shown.items()
        },
        **{f"sharp_{name}": figures["generated"]["mean"] >= BARS["agreement"] * figures["real"]["mean"] for name, figures in sharp.items()},
    }
    figures = {
        "pool": "held_out",
        "vae_psnr": vae,
        "prompt_agreement": shown,
        "prompt_agreement_sharp": sharp,
        "prompt_agreement_sharp_but_fitted_on_drawings_alone": brittle,
        "frechet": distance,
        "bars": BARS,
        "met": met,
        "sampling": {"steps": args.steps, "guidance": args.guidance, "batch": args.batch, "n": args.samples, "seconds": sampling},
        "probes": {
            "features": "EfficientNet-Lite0",
            "sharp": "EfficientNet-Lite0 and an 8x8x8 colour histogram, fitted on the same pictures and on what the VAE makes of them",
            "fitted_on": args.probe_pictures,
            "pool": "public",
            "feature_size": args.feature_size,
        },
        "seconds": time.monotonic() - begun,
        "command": shlex.join(["python", "recipes/evaluate_tiny_base.py", *args.argv]),
        "seed": args.seed,
        "device": args.device,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "scikit-learn", "dicebear-styles")},
    }
    args.docs.mkdir(parents=True, exist_ok=True)
    (args.docs / "tiny_base.json").write_text(json.dumps(figures, indent=1) + "\n")
    columns = min(args.columns, args.samples)
    sheet(stack(real[:columns]), reconstruct(pipe, stack(real[:columns]), batch=args.batch), made[:columns]).save(
        args.docs / "tiny_base.png"
    )
    trained = args.base / "training.json"
    (args.card or args.base / "README.md").write_text(card(figures, json.loads(trained.read_text()) if trained.is_file() else None))
    print(json.dumps(figures, indent=1))


def sheet(*rows: np.ndarray, zoom: int = 2, gap: int = 4) -> Image.Image:
    """Rows of pictures ``(N, H, W, 3)`` as one picture, on white."""
    padded = [np.pad(row, ((0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=255) for row in rows]
    whole = np.concatenate([np.concatenate(list(row), axis=1) for row in padded])
    return Image.fromarray(whole).resize((whole.shape[1] * zoom, whole.shape[0] * zoom), Image.Resampling.NEAREST)


# ---------------------------------------------------------------- the model card


def card(figures: dict[str, Any], trained: dict[str, Any] | None) -> str:
    """The model card, made of the figures alone."""
    brittle = figures["prompt_agreement_sharp_but_fitted_on_drawings_alone"]["skin"]
    vae, distance, met, sampling = (figures[key] for key in ("vae_psnr", "frechet", "met", "sampling"))

    def verdict(name: str) -> str:
        return "met" if met[name] else "**not met**"

    def interval(x: dict[str, float], digits: int) -> str:
        return f"{x['mean' if 'mean' in x else 'db']:.{digits}f} [{x['low']:.{digits}f}, {x['high']:.{digits}f}]"

    rows = [
        f"| VAE, PSNR of {what} (dB) | {interval(vae[name], 2)} | - | - | {vae[name]['n']} | {bar:g}: {verdict(f'vae_{name}')} |"
        for name, what, bar in (("avatars", "avatars", BARS["vae_avatars_db"]), ("edges", "their Canny maps", BARS["vae_edges_db"]))
    ]
    for key, kind, label in (("prompt_agreement", "agreement", ""), ("prompt_agreement_sharp", "sharp", ", sharp probes")):
        for name, shown in figures[key].items():
            made, decoded, real = shown["generated"], shown["reconstructed"], shown["real"]
            bar = f"{BARS['agreement']:g} of real: {verdict(f'{kind}_{name}')}"
            rows.append(
                f"| shows the {name} of the prompt{label} | {interval(made, 3)} | {interval(decoded, 3)} | "
                f"{interval(real, 3)} (n = {real['n']}) | {made['n']} | {bar} |"
            )
    rows.append(
        f"| FD-EffLite0, {distance['feature_size']} px features (never FID) | {distance['generated_vs_real']:.1f} | - | "
        f"{distance['real_vs_real']:.1f} | {distance['n']} | - |"
    )
    failed = [name.replace("_", " ") for name, good in met.items() if not good]
    outcome = "Every bar is met." if not failed else f"Not met: {', '.join(failed)}."
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# The tiny base

A small but real Stable Diffusion (a `StableDiffusionPipeline` folder): 64x64 pictures, VAE factor 4, latents 4x16x16, SD's
scaled-linear schedule, epsilon prediction, a CLIP-type text encoder trained with it. It exists so that every command of
Sfumato runs offline on two CPU cores, with the code paths that SD 1.5 or 2.1 takes. It is no general picture generator.

## Trained on

{_training(trained)}
Public identities only: nobody of the pools `held_out`, `recombined` or `unseen_part`, no hair style that is withheld for
`unseen_part`, and no picture of the style `personas`. Recipe: `recipes/train_tiny_base.py`.

## Figures

On people held out of the training, 95 % intervals in brackets (bootstrap over pictures for dB, Wilson for shares); avatars
only, Fill50K is not measured.

| what | this base | VAE of real | real pictures | n | bar |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{outcome} Samples: {sampling["steps"]} DDIM steps, guidance {sampling["guidance"]:g}, captions of held-out pictures; {sampling["n"]} in \
{sampling["seconds"]:.0f} s on {figures["device"]} ({figures["threads"]} threads).
Background: by the commonest colour of the border pixels. The others: linear probes on EfficientNet-Lite0 features, fitted on
{figures["probes"]["fitted_on"]} real public pictures; the column *real pictures* is the probes' own accuracy on held-out ones. These
features see little of exact colours, so the rows *sharp probes* add a colour histogram, and are fitted on the same pictures and on what the
VAE makes of them: fitted on drawings alone, whose colours are exact, such probes take the VAE's own blur for another skin (right about
{brittle["reconstructed"]["mean"]:.2f} of its reconstructions of real pictures and {brittle["generated"]["mean"]:.2f} of the samples). \
The column *VAE of real* is
what the decoder makes of the very pictures that were asked for: no sampler can be expected to show more. For FD-EffLite0 the column
*real pictures* is the distance of two disjoint real sets of the same size, the least that can be expected at this n.

Measured in {figures["seconds"]:.0f} s by

    {figures["command"]}

which also wrote `docs/tiny_base.json` and the contact sheet `docs/tiny_base.png` (real, reconstructed, sampled).

## Licence

The weights are under Apache-2.0. They were trained on renderings of drawings under CC0 (Open Peeps) and CC BY 4.0 (Adventurer,
Big Ears): the artists and licences are in `LICENSES-PICTURES.md`, one folder above.

## Limits

- It knows cartoon people of three styles and coloured circles; it has never seen a photograph.
- Its vocabulary is that of the training captions; other words are spelled out in pieces that mean nothing to it.
- A small base looks safer than a large one is: 4x16x16 latents tell an attacker less than SD's 4x64x64. Privacy figures
  measured on it say nothing definite about a large base.
"""


def _training(trained: dict[str, Any] | None) -> str:
    if trained is None:
        return "`training.json` is missing from the folder: how this base was trained is not known.\n"
    pictures = ", ".join(f"{n} {style}" for style, n in trained.get("pictures", {}).items())
    stages = [
        f"{label} {trained[key]['step']} steps, {trained[key]['seconds'] / 60:.0f} minutes"
        for key, label in (("vae", "VAE"), ("unet", "UNet and text encoder"))
        if key in trained
    ]
    where = f"{trained.get('device', 'unknown device')}, {trained.get('threads', '?')} threads, seed {trained.get('seed', '?')}"
    return f"Generated pictures ({pictures}). {'; '.join(stages)} ({where}).\n"


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=ROOT / "src/sfumato/assets/tiny")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where tiny_base.json and tiny_base.png go")
    parser.add_argument("--card", type=Path, help="the model card (default: README.md in the base)")
    parser.add_argument("--vae-pictures", type=int, default=600)
    parser.add_argument("--prompts", type=int, default=300, help="samples whose agreement with the prompt is scored")
    parser.add_argument("--samples", type=int, default=1000, help="samples, and real pictures, for the Fréchet distance")
    parser.add_argument("--probe-pictures", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=12, help="columns of the contact sheet")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--feature-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    args.argv = argv
    torch.set_num_threads(args.threads)
    evaluate(args)


if __name__ == "__main__":
    main()
