"""Train the identity head by which the judge tells people apart, and measure it on people that it never saw.

    python recipes/train_identity_head.py                       # the head that ships; minutes on one core

Trained on half 0 of the public open-peeps, on the drawings and on what the base's VAE makes of them, for guesses come out
of that VAE. Measured on private people of both pools, real pictures and pictures that went through the VAE: the latter is
the most that any guess from a latent can reach. Raw features and raw pixels stand beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.core.artifact import sha256, write_atomic, write_json
from sfumato.diffusion.base import Codec, load_codec
from sfumato.features.efficientnet import DIMENSION
from sfumato.features.identity import Head, describe, half, train
from sfumato.judge.metrics.identity import Gallery
from sfumato.pictures import avatars, store

ROOT = Path(__file__).parent.parent
STYLE = "open-peeps"
POOLS: tuple[avatars.Pool, ...] = ("recombined", "unseen_part")
BINS = 4000  # of similarities, between -1 and 1
FALSE_RATE = 0.01
TARGET = {"people": 60, "auc": 0.987, "rank_1": 0.81}  # what a prototype reached on 60 people


def through_vae(codec: Codec, images: np.ndarray, *, batch: int = 32) -> np.ndarray:
    """``images`` uint8 ``(N, H, W, 3)`` encoded and decoded."""
    return codec.decode_pixels(codec.encode_pixels(images, batch=batch), batch=batch)


def distinct(
    pool: avatars.Pool, people: int, pictures: int, *, seed: int, halves: tuple[int, ...] = (0, 1)
) -> tuple[np.ndarray, list[str]]:
    """``pictures`` pictures of each of ``people`` different people, person by person: ``(people * pictures, H, W, 3)``.

    ``halves``: of ``features.identity.half``.
    """
    drawn = store.distinct(STYLE, pool, people, pictures, seed=seed, purpose="identity-head", keep=lambda key: half(key) in halves)
    return drawn.images, drawn.identities


# ---------------------------------------------------------------- figures


def measure(gallery: Gallery, probes: np.ndarray, identities: Sequence[str], *, generator: np.random.Generator, resamples: int) -> Any:
    """Figures of probe embeddings ``(N, D)`` in a gallery, with 95 % intervals of a bootstrap over people.

    The bootstrap keeps the gallery and draws the probes' people; scores are counted in fine bins for its sake.
    """
    hit, rank = gallery.reidentify(probes, identities)
    similar, names = gallery.similarities(probes), np.array(gallery.identities)
    own = names[None, :] == np.array(identities)[:, None]
    person = np.unique(np.array(identities), return_inverse=True)[1]
    people = int(person.max()) + 1
    cell = np.clip(((similar + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1) + BINS * person[:, None]
    genuine, impostor = (np.bincount(cell[mask], minlength=people * BINS).reshape(people, BINS) for mask in (own, ~own))
    hits, counts = np.bincount(person, weights=hit), np.bincount(person)

    drawn = generator.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)
    right, wrong = drawn @ genuine, drawn @ impostor
    right, wrong = right / right.sum(axis=1, keepdims=True), wrong / wrong.sum(axis=1, keepdims=True)
    above = np.cumsum(wrong[:, ::-1], axis=1)[:, ::-1]  # share of wrong people in this bin or above it
    auc = (right * (1 - above + wrong / 2)).sum(axis=1)
    accepted = (right * (above <= FALSE_RATE)).sum(axis=1)
    return {
        "rank_1": _figure(float(hit.mean()), drawn @ hits / (drawn @ counts), len(hit)),
        "auc": _figure(gallery.auc(probes, identities), auc, len(hit)),
        "accepted_at_1_percent": _figure(gallery.accepted(probes, identities, false_rate=FALSE_RATE), accepted, len(hit)),
        "median_rank": float(np.median(rank)),
        "people": people,
    }


def _figure(mean: float, resampled: np.ndarray, n: int) -> dict[str, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"mean": mean, "low": min(mean, float(low)), "high": max(mean, float(high)), "n": n}


def pairs(embedded: np.ndarray, identities: Sequence[str]) -> dict[str, float]:
    """Picture against picture: is the most similar other picture of the same person, and the AUC over all pairs."""
    similar, names = embedded @ embedded.T, np.array(identities)
    same, other = names[:, None] == names[None, :], ~np.eye(len(names), dtype=bool)
    genuine, impostor = similar[same & other], np.sort(similar[~same])
    rank_1 = float(same[np.arange(len(names)), np.where(other, similar, -np.inf).argmax(axis=1)].mean())
    auc = float(np.searchsorted(impostor, genuine).mean() / len(impostor))
    return {"rank_1": rank_1, "auc": auc, "people": len(set(identities)), "pictures": len(names)}


def embeddings(head: Head) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """By name: pictures ``(N, H, W, 3)`` and their descriptions ``(N, D)`` to embeddings. The baselines learn nothing."""
    return {
        "head": lambda images, described: head.embed_described(described),
        "raw_efflite0": lambda images, described: described[:, :DIMENSION],
        "pixels": lambda images, described: images.reshape(len(images), -1) - 127.5,
    }


# ---------------------------------------------------------------- the whole


def run(args: argparse.Namespace) -> None:
    begun = time.monotonic()
    codec, bootstrap = load_codec(), np.random.default_rng(args.seed)
    images, keys = distinct("public", args.people, args.per_person, seed=args.seed, halves=(0,))
    _say(f"{len(set(keys))} people of half 0, {len(keys)} pictures", begun)
    described = np.vstack([describe(images), describe(through_vae(codec, images))])
    _say("described", begun)
    head = train(described, [*keys, *keys], seed=args.seed, steps=args.steps)
    training = {"style": STYLE, "pool": "public", "half": 0, "people": len(set(keys)), "pictures": len(keys),
                "seen": "as drawn and through the VAE", "steps": args.steps, "seed": args.seed}  # fmt: skip
    data = head.to_bytes({"training": training})
    _say("trained", begun)

    figures: dict[str, Any] = {}
    for pool in POOLS:
        images, keys = distinct(pool, args.gallery, 2 * args.each, seed=args.seed)
        known = np.arange(len(keys)) % (2 * args.each) < args.each
        reconstructed = through_vae(codec, images[~known])
        seen = {"gallery": (images[known], describe(images[known])), "real": (images[~known], describe(images[~known])),
                "through_vae": (reconstructed, describe(reconstructed))}  # fmt: skip
        people, asked = [key for key, k in zip(keys, known, strict=True) if k], [key for key, k in zip(keys, known, strict=True) if not k]
        figures[pool] = {"chance": {"rank_1": 1 / args.gallery, "auc": 0.5, "accepted_at_1_percent": FALSE_RATE}}
        for name, embed in embeddings(head).items():
            gallery = Gallery.of(seen["gallery"][0], people, embed=lambda _, e=embed, s=seen: e(*s["gallery"]), minimum=2)
            figures[pool][name] = {
                which: measure(gallery, embed(*seen[which]), asked, generator=bootstrap, resamples=args.resamples)
                for which in ("real", "through_vae")
            }
        both = slice(TARGET["people"] * args.each)
        few = np.vstack([head.embed_described(seen[which][1][both]) for which in ("gallery", "real")])
        figures[pool]["head"]["picture_against_picture"] = pairs(few, [*people[both], *asked[both]])
        _say(f"{pool}: {json.dumps(figures[pool]['head'])}", begun)

    write_atomic(args.out, data)
    write_json(
        args.json,
        {
            "pools": figures,
            "gallery": {"people": args.gallery, "pictures_each": args.each, "of": "other pictures of the probes' people, as drawn"},
            "training": training,
            "target": TARGET,
            "head": {"sha256": sha256(data), "bytes": len(data)},
            "bootstrap": {"resamples": args.resamples, "over": "the probes' people"},
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "torch": torch.__version__,
            "seconds": time.monotonic() - begun,
            "command": shlex.join(["python", "recipes/train_identity_head.py", *args.argv]),
        },
    )


def _say(what: str, begun: float) -> None:
    print(f"{time.monotonic() - begun:4.0f} s  {what}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "sfumato" / "assets" / "identity.safetensors")
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "identity.json")
    parser.add_argument("--people", type=int, default=500, help="public people of half 0")
    parser.add_argument("--per-person", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--gallery", type=int, default=200, help="private people of each pool")
    parser.add_argument("--each", type=int, default=5, help="pictures of each of them in the gallery, and as many probes")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    torch.set_num_threads(args.threads)
    run(args)


if __name__ == "__main__":
    main()
