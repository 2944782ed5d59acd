"""How often does the audit of records refute honest ones? Hundreds of small releases, sealed as owners seal, audited by anybody and owner.

python recipes/honest_audits.py --json docs/audit_honest.json

Settings go round: every preset of the base, the default, derived or not, half precision and int8, clips and none, steps from 200 to the
last, 2 to 40 records. Noise is the system's own, so figures differ from run to run. ``smallest`` is the smallest corrected p-value over its
threshold of all releases: below 1 is a false alarm.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta

from sfumato.core import registry
from sfumato.core.randomness import SecureNoise, generator
from sfumato.defences.pipeline import seal
from sfumato.diffusion.base import load_codec
from sfumato.judge.audit import records as audit
from sfumato.pictures import store
from sfumato.records import presets, privacy
from sfumato.records.defaults import CONDITION_STEP, SEAL_STEP
from sfumato.records.record import SealSettings, restore

COUNTS = (2, 3, 5, 8, 16, 40)
STYLES = ("open-peeps", "adventurer", "fill50k")
SEEDS = 20  # known seeds tried in each: the others cost time and are corrected for all the same


def settings_of(codec: Any) -> Iterator[tuple[str, SealSettings]]:
    """By name, over and over."""
    named = {"default": SealSettings(condition="canny", seal_step=SEAL_STEP, condition_step=CONDITION_STEP)}
    for level in presets.known(codec.fingerprint, codec.latent_shape).get("levels", {}):
        named[level] = presets.find(level, codec.fingerprint, codec.latent_shape, condition="canny")
    last = codec.schedule.steps - 1
    for step, bits, clip in itertools.product((200, 400, 600, 800, 900, last - 1), (8, 16), (None, 2.0, 20.0)):
        at = f"n {step}, {bits} bits, clip {clip}"
        named[at] = SealSettings(
            condition="canny", seal_step=step, condition_step=min(step + 1, last), clip=clip, condition_clip=clip, bits=bits
        )  # fmt: skip
        named[f"{at}, derived"] = SealSettings(condition="canny", seal_step=step, condition_step=None, derived=True, clip=clip, bits=bits)
    yield from itertools.cycle(named.items())


def measure(releases: int) -> dict[str, Any]:
    codec, started = load_codec("tiny"), time.perf_counter()
    extractor = registry.get("conditions", "canny")
    pool: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for style in STYLES:
        images = store.load(style, "public", 80, seed=17).images
        pool[style] = codec.encode_pixels(images), codec.encode_pixels(np.stack([extractor.extract(image) for image in images]))
    alarms: dict[str, list[str]] = {"anybody": [], "owner": []}
    least = dict.fromkeys(alarms, float("inf"))
    kinds = settings_of(codec)
    for number in range(releases):
        (name, settings), count, style = next(kinds), COUNTS[number % len(COUNTS)], STYLES[number % len(STYLES)]
        index = torch.randperm(80, generator=generator(number))[:count]
        clean = [part[index] for part in pool[style]]
        sealed = seal(clean[0], clean[1], settings, codec.schedule, noise=SecureNoise())
        claims = audit.claims(list(privacy.releases(settings, codec.schedule)), settings)
        fields = [(claim, restore(sealed[claim.field]), z) for claim, z in zip(claims, clean, strict=False)]
        found = {
            "anybody": audit.anybody([(claim, rows) for claim, rows, _ in fields], seeds=SEEDS),
            "owner": audit.owner(fields, index=np.arange(count)),
        }
        for who, part in found.items():
            least[who] = min([least[who], *(row["p"] / row["threshold"] for row in part["tests"])])
            if part["refuted"]:
                alarms[who].append(f"{name}, {count} records, {style}: " + ", ".join(r["name"] for r in part["tests"] if r["refuted"]))
    return {
        "releases": releases, "claimed_at_most": audit.FALSE_ALARMS, "alarms": alarms, "smallest": least, "counts": list(COUNTS),
        "upper_95": {who: float(beta.ppf(0.95, len(rows) + 1, releases - len(rows))) for who, rows in alarms.items()},
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", type=int, default=600)
    parser.add_argument("--json", type=Path, default=None, help="write the figures there, too")
    args = parser.parse_args()
    found = {"command": "python recipes/honest_audits.py --json docs/audit_honest.json", **measure(args.releases)}
    if args.releases != 600:
        found["command"] += f" --releases {args.releases}"
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
