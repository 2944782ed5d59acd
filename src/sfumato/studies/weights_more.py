"""What else shared weights tell: whether a picture was trained on, on how many, and what several merges of one base give away."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from sfumato.adapters import formats
from sfumato.adapters.conventions import UNET
from sfumato.adapters.lora import linears
from sfumato.adapters.train_many import train_many
from sfumato.adapters.trajectories import Store, train_all
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import Candidates, Guess, Merged, Published
from sfumato.attacker.weights.dataset_size import Sized
from sfumato.attacker.weights.membership import KnownMembers
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.pictures import store
from sfumato.studies import lora_people
from sfumato.studies.lora_people import PeopleConfig, Victim

SHADOWS = 16
SIZES = (1, 2, 3, 5, 8)
FALSE_RATE = 0.01


def membership(
    base: Base, victims: list[Victim], config: PeopleConfig, *, effort: Effort = "quick", shadowed: int = 0,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """By variant: how well members are told from other pictures of the same person, and from strangers' pictures.

    Args:
        base: the base.
        victims: whose candidates are their own pictures, half of them members, and as many of the next victim.
        config: of the people.
        effort: of the attacks.
        shadowed: for how many victims LiRA gets shadows: adapters trained on random halves of the candidates.
        tell: progress.

    Returns:
        for each variant and kind of other pictures AUC (chance 0.5) and the share of members above what 1 in 100 others pass, with 95 %
        intervals over victims, and n.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for number, victim in enumerate(victims):
        stranger = victims[(number + 1) % len(victims)].pictures.images[: config.each]
        images = np.concatenate([victim.pictures.images, stranger])
        z_0 = base.encode_pixels(lora_people.fitted(images, base))
        known = Scenario(base, Published(formats.read(victim.file)), Candidates(z_0, (victim.facts["prompt"],) * len(z_0)))
        for variant in attacks.attack("membership").VARIANTS:
            if variant == "lira":
                if number >= shadowed:
                    continue
                known = known.having(_shadows(base, z_0, victim.facts["prompt"], config, number))
            tell(f"membership: {variant}", number, len(victims))
            guess = attacks.attempt(f"membership:{variant}", known, effort=effort, seed=config.seed)
            if not isinstance(guess, Guess) or guess.scores is None:
                raise UserError(f"membership:{variant} came to nothing ({guess})", privacy="that is no proof of safety")
            members, others, strangers = guess.scores.numpy().reshape(3, config.each)
            found.setdefault(variant, []).append((members, others, strangers))
    return {
        variant: {kind: _told_apart([(m, o if kind == "the same person" else s) for m, o, s in rows])
                  for kind in ("the same person", "strangers")}
        for variant, rows in found.items()
    }  # fmt: skip


def _told_apart(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """AUC and true positives at a small false rate, resampled by victim."""
    draws = np.random.default_rng(0)

    def both(chosen: list[int]) -> tuple[float, float]:
        inside, outside = (np.concatenate([pairs[i][side] for i in chosen]) for side in (0, 1))
        above = inside > np.quantile(outside, 1 - FALSE_RATE, method="higher")
        return _auc(inside, outside), float(above.mean())

    everyone = list(range(len(pairs)))
    auc, rate = both(everyone)
    again = np.array([both(draws.choice(everyone, len(everyone)).tolist()) for _ in range(500)])
    (auc_low, rate_low), (auc_high, rate_high) = np.percentile(again, [2.5, 97.5], axis=0)
    return {
        "auc": auc, "auc_low": float(auc_low), "auc_high": float(auc_high), "chance": 0.5,
        f"true positives at {FALSE_RATE:.0%} false": rate, "rate_low": float(rate_low), "rate_high": float(rate_high),
        "victims": len(pairs), "members": int(sum(len(m) for m, _ in pairs)), "others": int(sum(len(o) for _, o in pairs)),
    }  # fmt: skip


def _auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a score of ``inside`` is above one of ``outside``; ties count half (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.mean() - (len(inside) + 1) / 2) / len(outside))


def _shadows(base: Base, z_0: torch.Tensor, prompt: str, config: PeopleConfig, number: int) -> KnownMembers:
    draws = random.Random(f"{config.seed}/shadows of {number}")
    chosen = [sorted(draws.sample(range(len(z_0)), config.each)) for _ in range(SHADOWS)]
    of_class = lora_people.class_of(base, config.seed)
    tasks = [lora_people.task_of(z_0[rows], prompt=prompt, seed=draws.randrange(2**62), of_class=of_class) for rows in chosen]
    trained = train_many(base, tasks, config.lora, config.finetune)
    members = torch.zeros(SHADOWS, len(z_0), dtype=torch.bool)
    for row, rows in zip(members, chosen, strict=True):
        row[rows] = True
    return KnownMembers(tuple(trained.adapter(k) for k in range(SHADOWS)), members)


def dataset_size(
    base: Base, config: PeopleConfig, folder: Path, *, known: int = 8, asked: int = 4, tell: TellOf = lambda what, done, total: None
) -> dict[str, Any]:
    """On how many pictures was it trained? ``known`` adapters of each of ``SIZES`` to learn from, ``asked`` of other people to be guessed;
    all by the usual recipe, which the attacker knows. Chance is 1 in 5."""
    count = known + asked
    people = store.distinct(
        lora_people.STYLE, "public", count * len(SIZES), max(SIZES), seed=config.seed, purpose="lora sizes"
    )  # fmt: skip
    latents = base.encode_pixels(lora_people.fitted(people.images, base)).unflatten(0, (-1, max(SIZES)))
    of_class, tasks, sizes = lora_people.class_of(base, config.seed), {}, {}
    for k, own in enumerate(latents):
        name, size = f"size-{k:04d}", SIZES[k % len(SIZES)]
        prompt = lora_people.prompt_of(random.Random(f"{config.seed}/{name}"))
        tasks[name], sizes[name] = lora_people.task_of(own[:size], prompt=prompt, seed=config.seed + k, of_class=of_class), size
    kept = Store(folder)
    train_all(
        base, tasks, config.lora, config.finetune, kept, keep=(), together=config.together,
        on_step=lambda done, total: tell("adapters of known size", done, total),
    )  # fmt: skip
    names = list(tasks)
    learned, private = names[: known * len(SIZES)], names[known * len(SIZES) :]
    public = Sized(tuple(kept.get(name).adapter(config.steps) for name in learned), tuple(sizes[name] for name in learned))
    hits, off = [], []
    for name in private:
        guess = attacks.attempt("dataset_size", Scenario(Published(kept.get(name).adapter(config.steps)), public))
        assert isinstance(guess, Guess) and guess.facts is not None
        hits.append(guess.facts["pictures"] == sizes[name])
        off.append(abs(guess.facts["pictures"] - sizes[name]))
    return {
        "right": float(np.mean(hits)),
        "mean error": float(np.mean(off)),
        "chance": 1 / len(SIZES),
        "n": len(hits),
        "sizes": list(SIZES),
    }


def merging(base: Base, victims: list[Victim], config: PeopleConfig, *, effort: Effort = "quick") -> dict[str, Any]:
    """Adapters merged into one base each: how near does the base come back, against the mean of the merges?"""
    adapters = [formats.read(victim.file) for victim in victims]
    layers = {name: layer for name, layer in linears(base, config.lora).items() if name.startswith(UNET)}
    originals = {name: layer.weight.detach().double().cpu() for name, layer in layers.items()}
    deltas = [adapter.deltas() for adapter in adapters]
    merges = {name: torch.stack([w_0 + delta[name].double() for delta in deltas]) for name, w_0 in originals.items()}
    guess = attacks.attempt("spectral_detuning", Scenario(Merged(merges, config.rank)), effort=effort)
    if not isinstance(guess, Guess) or guess.weights is None:
        raise UserError(f"spectral_detuning came to nothing ({guess})", privacy="that is no proof of safety")
    errors = {"recovered": guess.weights, "mean of the merges": {name: several.mean(0) for name, several in merges.items()}}
    scale = sum(float((several - originals[name]).square().sum()) / len(several) for name, several in merges.items()) ** 0.5
    told = {
        what: sum(float((w - originals[name]).square().sum()) for name, w in weights.items()) ** 0.5 / scale
        for what, weights in errors.items()
    }
    return {"error, relative to one adapter": told, "merges": len(adapters), "layers": len(layers), "budget": guess.budget}
