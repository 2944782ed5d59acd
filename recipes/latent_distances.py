"""How far apart two pictures lie in a base's latent space: what a privacy card says of two of them rests on distances that occur.

python recipes/latent_distances.py                # the tiny base and its public pictures; writes the asset that ships
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from sfumato.core.artifact import read_json, write_json
from sfumato.diffusion.base import load_codec
from sfumato.pictures import store

ASSET = Path(__file__).parents[1] / "src/sfumato/assets/distances.json"
STYLES = ("open-peeps", "adventurer", "big-ears", "fill50k")  # of the base's own training


def measure(base: str, each: int, seed: int) -> tuple[str, dict[str, Any]]:
    """The base's fingerprint, and nearest and median distance over all pairs of public pictures of one style."""
    codec = load_codec(base)
    nearest, medians, pictures = [], [], 0
    for style in STYLES:
        images = np.unique(store.load(style, "public", each, seed=seed).images, axis=0)  # the very same picture twice is no pair
        found = pdist(codec.encode_pixels(images).flatten(1).double().numpy())
        nearest.append(float(found.min()))
        medians.append(float(np.median(found)))
        pictures += len(images)
    return codec.fingerprint, {
        "latent": list(codec.latent_shape), "nearest": round(min(nearest), 2), "median": round(float(np.median(medians)), 2),
        "pictures": pictures, "styles": dict(zip(STYLES, (round(n, 2) for n in nearest), strict=True)),
        "command": f"python recipes/latent_distances.py --each {each} --seed {seed}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--each", type=int, default=400, help="pictures of a style")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ASSET)
    args = parser.parse_args()
    fingerprint, found = measure(args.base, args.each, args.seed)
    known = read_json(args.out, what="distances") if args.out.exists() else {}
    write_json(args.out, {**known, fingerprint: found})
    print(found)


if __name__ == "__main__":
    main()
