"""What private pictures are worth under which guarantee: ceilings, floors, votes at several epsilons, ablations; several seeds.

    python recipes/worth.py OUT                  # every arm, one process a core; arm by arm, so that a run goes on after a kill
    python recipes/worth.py OUT --minutes 9      # and begin no arm that would end later
    python recipes/worth.py OUT --collect docs/worth.json   # what has run so far, and a sheet of pictures a domain

An arm is trained as ``sfumato compare`` trains it. Seeds after the first tell how far another training moves A.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sfumato._version import __version__
from sfumato.core.artifact import write_atomic, write_json
from sfumato.core.device import choose_device, choose_precision
from sfumato.diffusion.base import load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.judge.report import pages
from sfumato.schemes._wire import Local
from sfumato.studies.training.compare import CompareConfig, Place

VOTES = "private_evolution:epsilon={}"
BOUNDS = ["unsealed", "public-varied", "synthetic", "sealed", "sealed-derived"]
ARMS = [
    "no_control", *BOUNDS, VOTES.format(1), "unvoted", VOTES.format(4), "unsealed-every-t", "public-styles", VOTES.format(1_000_000),
    "sealed-clear-condition", "sealed-clear-picture", VOTES.format(2), VOTES.format(8), "unsealed-varied", "sealed-derived-varied",
    VOTES.format(4) + ",vary=all", "unvoted:vary=all", VOTES.format("0.5"), "synthetic-prompted", "synthetic-varied",
    VOTES.format(1) + ",rounds=1", VOTES.format(1) + ",rounds=3", VOTES.format(1) + ",clusters=12", VOTES.format(1) + ",threshold=1",
]  # fmt: skip
AGAIN = [*BOUNDS, VOTES.format(1), "unvoted", VOTES.format(4), VOTES.format(1_000_000)]
SHOWN = [*BOUNDS, VOTES.format(1), "unvoted"]  # in the sheets of pictures
DOMAINS = ("shifted", "fill50k")
CONDITIONS, AGAIN_BY = 1000, 200  # to be judged by, of the first seed and of the others
NEEDS = 60.0  # seconds that an arm may take


def tasks() -> list[tuple[str, int, str]]:
    """(domain, seed, arm), the most important ones first."""
    first = [(domain, 0, arm) for arm in ARMS for domain in DOMAINS]
    again = [(domain, seed, arm) for seed in (1, 2) for arm in AGAIN for domain in DOMAINS]
    own = [("own", 0, arm) for arm in [*BOUNDS, VOTES.format(1), "unvoted", VOTES.format(4)]]
    key = 2 * (ARMS.index("unsealed-varied"))
    return [*first[:key], *again, *first[key:], *own]


def file_of(out: Path, task: tuple[str, int, str]) -> Path:
    domain, seed, arm = task
    return out / "rows" / f"{domain}-{seed}-{pages.named(arm)}.json"


def work(out: Path, number: int, until: float) -> None:
    """Take the first task that nobody has, until there is none."""
    quiet_libraries()
    base = load_base(device=choose_device())
    places: dict[tuple[str, int], Place] = {}
    with ExitStack() as stack:
        for task in sorted(tasks(), key=lambda task: DOMAINS.index(task[0]) != number % 2 if task[0] in DOMAINS else True):
            path = file_of(out, task)
            if path.exists() or time.time() > until - NEEDS:
                continue
            try:
                os.close(os.open(path.with_suffix(f".taken-{os.environ['WORTH_RUN']}"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            domain, seed, arm = task
            started = time.time()
            try:
                if (domain, seed) not in places:
                    config = CompareConfig(pictures=400, conditions=CONDITIONS if seed == 0 else AGAIN_BY, steps=400, frechet=seed == 0)
                    folder = out / f"worker-{number}" / f"{domain}-{seed}"
                    prepared = Place.prepared(domain, seed, base, config, folder, lambda *_: None, connect=Local)
                    places[domain, seed] = stack.enter_context(prepared)
                row = places[domain, seed].run(arm)
            except Exception as error:
                traceback.print_exc()
                row = {"failed": f"{type(error).__name__}: {error}"}
            print(f"{domain} {seed} {arm}: {time.time() - started:.0f} s", flush=True)
            kind = {"device": base.unet.device.type, "precision": choose_precision(), "version": __version__}
            write_json(path, {"domain": domain, "seed": seed, "arm": arm, "row": row, **kind, "whole_seconds": time.time() - started})


def collect(out: Path, target: Path) -> None:
    """One file of all rows; rows that failed are left out and named."""
    found = [json.loads(path.read_text()) for path in sorted((out / "rows").glob("*.json"))]
    order = {task: number for number, task in enumerate(tasks())}
    found.sort(key=lambda one: order[one["domain"], one["seed"], one["arm"]])
    runs: dict[str, Any] = {f"{one['domain']}/{one['arm']}/{one['seed']}": one["row"] for one in found if "failed" not in one["row"]}
    failed = {f"{one['domain']}/{one['arm']}/{one['seed']}": one["row"]["failed"] for one in found if "failed" in one["row"]}
    settings = {"pictures": 400, "owners": 2, "steps": 400, "conditions": CONDITIONS, "again": AGAIN_BY}
    made = {"device": sorted({f"{one['device']} {one['precision']}" for one in found}), "version": __version__}
    command = f"python recipes/worth.py OUT && python recipes/worth.py OUT --collect docs/{target.name}"
    figures = {"settings": settings, "runs": runs, "failed": failed, "interval": "95 %, paired bootstrap over conditions"}
    write_json(target, {**figures, **made, "command": command})
    for domain in DOMAINS:
        rows = []
        for name in ("real", "condition", *SHOWN):
            kept = sorted(out.glob(f"worker-*/{domain}-0/{domain}-{pages.named(name)}-0.npy"))
            if kept:
                rows.append((name.replace("_", " "), np.load(kept[0])[:6]))
        if rows:
            write_atomic(target.parent / f"{target.stem}_{domain}.png", pages.png(pages.contact_sheet(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=10_000.0)
    parser.add_argument("--collect", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    (args.out / "rows").mkdir(parents=True, exist_ok=True)
    if args.collect:
        collect(args.out, args.collect)
    elif args.worker is not None:
        work(args.out, args.worker, float(os.environ["WORTH_UNTIL"]))
    else:
        named = {"WORTH_UNTIL": str(time.time() + 60 * args.minutes), "WORTH_RUN": str(os.getpid()), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(args.out), "--worker"]
        running = [subprocess.Popen([*command, str(k)], env={**os.environ, **named}) for k in range(args.jobs)]
        sys.exit(max(process.wait() for process in running))


if __name__ == "__main__":
    main()
