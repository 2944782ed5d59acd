"""Was a picture trained on? Members against other pictures of the same person, and against
strangers'."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from sfumato.adapters import formats
from sfumato.adapters.train_many import train_many
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import Candidates, Guess, Published
from sfumato.attacker.weights.membership import KnownMembers
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.studies.lora import people
from sfumato.studies.lora.people import PeopleConfig, Victim

SHADOWS = 16
FALSE_RATE = 0.01


def measure(
    base: Base, victims: list[Victim], config: PeopleConfig, *, effort: Effort = "quick", shadowed: int = 0,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """By variant: how well members are told from other pictures of the same person, and from
    strangers' pictures.

    Args:
        base: the base.
        victims: whose candidates are their own pictures, half of them members, and as many of the
            next victim.
        config: of the people.
        effort: of the attacks.
        shadowed: for how many victims LiRA gets shadows: adapters trained on random halves of the
            candidates.
        tell: progress.

    Returns:
        for each variant and kind of other pictures AUC (chance 0.5) and the share of members above
        what 1 in 100 others pass, with 95 % intervals over victims, and n.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for number, victim in enumerate(victims):
        stranger = victims[(number + 1) % len(victims)].pictures.images[: config.each]
        images = np.concatenate([victim.pictures.images, stranger])
        z_0 = base.encode_pixels(people.fitted(images, base))
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
    """How often a score of ``inside`` is above one of ``outside``; ties count half (Mann and
    Whitney)."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.mean() - (len(inside) + 1) / 2) / len(outside))


def _shadows(base: Base, z_0: torch.Tensor, prompt: str, config: PeopleConfig, number: int) -> KnownMembers:
    draws = random.Random(f"{config.seed}/shadows of {number}")
    chosen = [sorted(draws.sample(range(len(z_0)), config.each)) for _ in range(SHADOWS)]
    of_class = people.class_of(base, config.seed)
    tasks = [people.task_of(z_0[rows], prompt=prompt, seed=draws.randrange(2**62), of_class=of_class) for rows in chosen]
    trained = train_many(base, tasks, config.lora, config.finetune)
    members = torch.zeros(SHADOWS, len(z_0), dtype=torch.bool)
    for row, rows in zip(members, chosen, strict=True):
        row[rows] = True
    return KnownMembers(tuple(trained.adapter(k) for k in range(SHADOWS)), members)
