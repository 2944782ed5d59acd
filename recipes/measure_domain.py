"""What is near to the tiny base's own style, and what is far: the distances and errors by which ``sfumato seal`` warns.

``python recipes/measure_domain.py`` writes ``src/sfumato/assets/domain.json``; it takes two minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.core.artifact import write_json
from sfumato.diffusion.base import load_codec
from sfumato.owner import domain
from sfumato.pictures import store

OWN = ("open-peeps", "public")
BESIDE = {
    "other people of the base's own style": ("open-peeps", "recombined"),
    "people with parts that the base never saw": ("open-peeps", "unseen_part"),
    "personas, a style that the base never saw": ("personas", "public"),
    "adventurer, another": ("adventurer", "public"),
    "Fill50K, coloured circles": ("fill50k", "public"),
}
OUT = Path(__file__).parents[1] / "src/sfumato/assets/domain.json"


def run(base: str = "tiny", *, fitted: int = 600, looked: int = 200, seed: int = 0) -> dict[str, Any]:
    """Fit the own style on ``fitted`` public pictures, and look at ``looked`` others of it and of each other kind."""
    codec = load_codec(base)
    images = store.load(*OWN, fitted + looked, seed=seed).images
    mean, precision = domain.fit(codec.encode_pixels(images[:fitted]))
    kinds = {"public pictures of the base's own style": images[fitted:]}
    kinds |= {name: store.load(*kind, looked, seed=seed).images for name, kind in BESIDE.items()}
    found, errors = {}, {}
    for name, shown in kinds.items():
        latents = codec.encode_pixels(shown)
        found[name] = domain.distances(latents, mean, precision)
        errors[name] = domain.errors(shown, latents, codec)
    limit, error_limit = (float(np.quantile(next(iter(each.values())), domain.WITHIN)) for each in (found, errors))
    return {
        codec.fingerprint: {
            "style": "the drawn people on which the tiny base was trained",
            "mean": mean.tolist(),
            "precision": precision.tolist(),
            "limit": limit,
            "error_limit": error_limit,
            "measured": {name: _spread(found[name], limit) | {"error": _spread(errors[name], error_limit)} for name in found},
            "fitted": fitted,
            "seed": seed,
            "command": "python recipes/measure_domain.py",
        }
    }


def _spread(values: np.ndarray, limit: float) -> dict[str, Any]:
    quantiles = {f"q{q}": float(np.quantile(values, q / 100)) for q in (5, 50, 95)}
    return {"n": len(values), "beyond": float((values > limit).mean()), **quantiles}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    write_json(parser.parse_args().out, run())


if __name__ == "__main__":
    main()
