"""The commands of shared weights on Stable Diffusion 1.5's true shapes, with random weights and small pictures: docs/sd15_weights.json.

    python recipes/sd15_weights.py        # some minutes on two cores, 12 GB of memory, 2 GB of disk

Two optimiser steps teach nothing and the pictures mean nothing. What is shown is that a LoRA, the many-LoRA engine, an attacker of
every kind of encoder, the attack and the study go through at real size, and how large the files are that they write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open

from sfumato._version import __version__
from sfumato.core.artifact import write_json
from sfumato.diffusion.base import load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.shapes import sd15_base
from sfumato.pictures import store

EVALUATED = "prior_sampling:class_prompt"  # beside the owner's own samples and those of the base: run has tried the trained attackers
BELOW_THE_GATE = 2  # what evaluate ends with where nothing was learned that could leak
ENCODERS = ("hypernet", "invariant", "probe", "linear")


def write_base(folder: Path, *, side: int) -> Path:
    """SD 1.5's networks with random weights in half precision, the tiny base's words, and SD's schedule, as diffusers saves them."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    if (folder / "model_index.json").exists():
        return folder
    torch.manual_seed(0)  # no weights matter, but the figures shall come out the same
    base, tokenizer = sd15_base(side=side), load_base().tokenizer
    tokenizer.model_max_length = base.tokenizer.model_max_length
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=base.vae, text_encoder=base.text_encoder, tokenizer=tokenizer, unet=base.unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.to(torch.float16).save_pretrained(folder)
    return folder


def write_pictures(folder: Path, *, size: int) -> Path:
    """A few pictures of one invented person."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(store.load("open-peeps", "recombined", 3, seed=0, per_identity=3).images):
        Image.fromarray(image).resize((size, size)).save(folder / f"{number}.png")
    return folder


def command(*words: str) -> dict[str, Any]:
    """Run ``sfumato`` and return what it printed, and how long it took."""
    print("sfumato", *words, file=sys.stderr, flush=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "sfumato.cli.main", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.returncode and not (done.returncode == BELOW_THE_GATE and "gate" in said):
        raise SystemExit(f"sfumato {' '.join(words)} ended with {done.returncode}")
    return {**said, "wall": time.monotonic() - started}


def shapes_in(path: Path) -> dict[str, Any]:
    """How many tensors and numbers a file holds."""
    with safe_open(path, framework="pt") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    return {"bytes": path.stat().st_size, "tensors": len(shapes), "numbers": sum(torch.Size(shape).numel() for shape in shapes)}


def run(base: Path, work: Path, *, size: int, encoders: tuple[str, ...] = ENCODERS) -> dict[str, Any]:
    """Every command once: ``finetune`` in both formats, then an attacker and an attack for each of ``encoders``."""
    pictures, figures = write_pictures(work / "pictures", size=size), {}
    for form in ("diffusers", "kohya"):
        lora = work / f"{form}.safetensors"
        made = command(
            "finetune", str(pictures), "-o", str(lora), "--base", str(base), "--steps", "2", "--batch", "1", "--prior", "1", "--lr", "1e-4",
            "--rank", "16", "--format", form, "--seed", "0", "--checkpoint-every", "0",
        )  # fmt: skip
        figures[f"finetune, {form}"] = {
            **shapes_in(lora),
            "layers": made["layers"],
            "parameters": made["parameters"],
            "seconds": made["wall"],
        }
    for encoder in encoders:
        attacker = work / f"{encoder}.safetensors"
        here = ("--base", str(base))
        made = command(
            "attack-weights", "train", "-o", str(attacker), "--encoder", encoder, *here, "--work", str(work / "public"), "--quick"
        )
        figures[f"attack-weights train, {encoder}"] = {**shapes_in(attacker), "adapters": made["adapters"], "seconds": made["wall"]}
    chosen = [word for encoder in encoders for word in ("--attacker", str(work / f"{encoder}.safetensors"))]
    said = command("attack-weights", "run", str(work / "kohya.safetensors"), *chosen, "--base", str(base), "-o", str(work / "run"))
    answer = said["files"]["kohya.safetensors"]
    figures["attack-weights run"] = {"attacks": sorted(answer["budget"]), "unknown keys": answer["unknown keys"], "seconds": said["wall"]}
    said = command(
        "attack-weights", "evaluate", "--quick", "--attacks", EVALUATED, *chosen[:2], "--base", str(base), "--work", str(work / "public"),
        "-o", str(work / "study"),
    )  # fmt: skip
    figures["attack-weights evaluate"] = {
        "attacks": {name: {key: row[key] for key in ("outcome", "n", "seconds")} for name, row in said["attacks"].items()},
        "victims": said["owner"]["n"], "line-up": round(1 / said["chance"]), "gate passed": said["gate"]["passed"], "seconds": said["wall"],
    }  # fmt: skip
    return figures


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/sd15_weights.json"))
    parser.add_argument("--work", type=Path, default=Path("build/sd15"))
    parser.add_argument("--side", type=int, default=8, help="of the latents: weights are as large at every side, pictures are not")
    parser.add_argument("--base", type=Path, help="a diffusers folder in place of random weights of Stable Diffusion 1.5's shapes")
    parser.add_argument("--encoder", action="append", choices=ENCODERS, help="only this one; may be given again")
    asked = parser.parse_args(args)
    quiet_libraries()
    base = asked.base or write_base(asked.work / "base", side=asked.side)
    size = load_base(str(base)).size
    figures = run(base, asked.work, size=size, encoders=tuple(asked.encoder or ENCODERS))
    words = [] if asked.side == 8 else ["--side", str(asked.side)]
    words += [word for encoder in asked.encoder or () for word in ("--encoder", encoder)]
    made_by = " ".join(["python recipes/sd15_weights.py", *words])
    write_json(
        asked.json, {"command": made_by, "version": __version__, "pixels": size, "threads": torch.get_num_threads(), "commands": figures}
    )
    for name, row in figures.items():
        print(f"{name:36} {row.get('bytes', 0) / 1e6:8.1f} MB  {row['seconds']:6.1f} s")


if __name__ == "__main__":
    main()
