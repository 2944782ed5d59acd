"""A server's step on sealed records against the usual centralised step, as a ratio measured in one run.

python benchmarks/server_step.py                      # the tiny base
python benchmarks/server_step.py --sd15 --side 32     # Stable Diffusion 1.5's shapes, random weights, 256x256: 20 GB
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from sfumato._version import __version__
from sfumato.core.device import choose_device, choose_precision
from sfumato.diffusion.base import load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.shapes import sd15_base
from sfumato.studies.training.step_time import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd15", action="store_true", help="SD 1.5's shapes with random weights")
    parser.add_argument("--side", type=int, default=32, help="of its latents")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default=choose_precision())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(args.threads)
    base = sd15_base(side=args.side, device=choose_device()) if args.sd15 else load_base(device=choose_device())
    batch = args.batch or (1 if args.sd15 else 32)
    figures = measure(
        base, batch=batch, rounds=args.rounds, steps=args.steps, precision=args.precision,
        on_step=lambda done, total: print(f"{done}/{total}", end="\r", file=sys.stderr, flush=True),
    )  # fmt: skip
    figures["version"] = __version__
    figures["command"] = " ".join(["python benchmarks/server_step.py", *sys.argv[1:]])
    text = json.dumps(figures, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
