"""Peak memory above the weights at Stable Diffusion 1.5's shapes, by budget and all at once: docs/memory.json.

python benchmarks/memory.py --pictures 2      # some minutes on two cores, 7 GB of memory

Every figure is a process of its own. The weights are one number all over, in float32, for only shapes matter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.core.artifact import write_json
from sfumato.core.memory import peak_bytes
from sfumato.core.randomness import generator
from sfumato.diffusion import budget
from sfumato.diffusion.base import Base
from sfumato.diffusion.layout import channels_last
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.shapes import sd15_base

TASKS = ("encode", "decode", "sample")
EVERYTHING = 2**60


def filled(module: Any) -> Any:
    """The same module on the CPU, every weight a small number."""
    module = module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.fill_(1e-3)
        else:  # a text encoder's positions
            tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    return channels_last(module.eval().requires_grad_(False))


def base_for(task: str, *, side: int) -> Base:
    """SD 1.5 of which only the parts that ``task`` uses have weights."""
    with torch.device("meta"):
        base = sd15_base(side=side)
    if task == "sample":
        return replace(base, unet=filled(base.unet), text_encoder=filled(base.text_encoder))
    return replace(base, vae=filled(base.vae))


def measure(task: str, pictures: int, *, side: int, at_once: bool) -> dict[str, float]:
    """Run ``task`` once in this process."""
    base = base_for(task, side=side)
    before, started = peak_bytes(), time.monotonic()
    if at_once:
        budget.BYTES = EVERYTHING
    draws = np.random.default_rng(0)
    if task == "encode":
        base.encode_pixels(draws.integers(0, 256, (pictures, base.size, base.size, 3), dtype=np.uint8))
    elif task == "decode":
        base.decode_pixels(torch.randn(pictures, *base.latent_shape, generator=generator(0)))
    else:
        sample(base, ["a"] * pictures, generator=generator(0), steps=1)
    return {"weights": before, "above": peak_bytes() - before, "seconds": time.monotonic() - started}


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--side", type=int, default=64, help="of the latents")
    parser.add_argument("--json", type=Path, default=Path("docs/memory.json"))
    parser.add_argument("--task", choices=TASKS, help="measure this in this process and print it")
    parser.add_argument("--at-once", action="store_true", help="with --task: no budget")
    asked = parser.parse_args(args)
    quiet_libraries()
    if asked.task:
        print(json.dumps(measure(asked.task, asked.pictures, side=asked.side, at_once=asked.at_once)))
        return
    rows: dict[str, Any] = {}
    for task in TASKS:
        for row, more in (("by budget", []), ("at once", ["--at-once"])):
            words = ["--task", task, "--pictures", str(asked.pictures), "--side", str(asked.side), *more]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            rows.setdefault(task, {})[row] = json.loads(done.stdout)
            print(task, row, f"{rows[task][row]['above'] / 1e9:.2f} GB above the weights", file=sys.stderr, flush=True)
            command = f"python benchmarks/memory.py --pictures {asked.pictures} --side {asked.side}"
            write_json(
                asked.json, {"command": command, "version": __version__, "pictures": asked.pictures, "pixels": 8 * asked.side, "peak": rows}
            )


if __name__ == "__main__":
    main()
