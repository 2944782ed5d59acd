"""How much memory it takes to find the pictures of some audited records among very many, whose latents are made a block at a time.

    python benchmarks/match_memory.py --pictures 100000 --audited 1000 --side 16

prints one JSON object: seconds, and the peak of the process above what it had before. The latents are random; that changes neither.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion.schedule import Schedule
from sfumato.judge.audit import matching
from sfumato.studies.records.audited import BLOCK, chosen


def main(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("pictures", 100_000), ("audited", 1000), ("side", 16), ("step", 600), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args(arguments)
    schedule = Schedule(torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0))

    def block(start: int) -> torch.Tensor:
        count = min(BLOCK, args.pictures - start)
        return torch.randn((count, 4, args.side, args.side), generator=generator(args.seed, start))

    own = chosen(args.pictures, args.audited, args.seed).numpy()
    released = torch.empty((len(own), 4, args.side, args.side))
    alpha, sigma = float(schedule.alpha(args.step)), float(schedule.sigma(args.step))
    for start in range(0, args.pictures, BLOCK):
        mine = (own // BLOCK == start // BLOCK).nonzero()[0]
        if len(mine):
            noise = torch.randn((len(mine), *released.shape[1:]), generator=generator(args.seed, start, 1))
            released[mine] = alpha * block(start)[own[mine] - start] + sigma * noise
    fields = [(released, torch.full((len(own),), args.step))] * 2  # picture and condition
    before, started = peak(), time.monotonic()
    found = matching.match(fields, lambda: ((block(i),) * 2 for i in range(0, args.pictures, BLOCK)), schedule)
    result: dict[str, object] = {
        **vars(args), "seconds": round(time.monotonic() - started, 1), "user_seconds": round(time.process_time(), 1),
        "right": float((found == np.asarray(own)).mean()), "peak_bytes": peak(), "peak_bytes_before": before,
        "dense_bytes": 8 * len(own) * args.pictures,
    }  # fmt: skip
    print(json.dumps(result))
    return result


def peak() -> int:
    """Bytes that the process held at most so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    main(sys.argv[1:])
