"""One cell of a matrix: an attack on what is known of records, whatever it answers, scored or with
the reason why not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from sfumato.attacker import attempt as attempts
from sfumato.attacker.attempt import Effort, Failed, NoChannel
from sfumato.attacker.knowledge import Conditions, Latents, Mixed, Scenario, Trained
from sfumato.attacker.records import _evidence
from sfumato.attacker.records import base as attacks
from sfumato.attacker.records.base import Guess
from sfumato.core.device import choose_precision
from sfumato.core.errors import UserError
from sfumato.core.progress import Tell
from sfumato.diffusion.base import Base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.diffusion.schedule import CLEAN
from sfumato.judge import shuffle
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.guesses import Prior, Truth
from sfumato.judge.report import pages
from sfumato.records.reader import Records
from sfumato.server.fit import TrainConfig
from sfumato.server.train import train
from sfumato.studies.records import answers

SERVER_STEPS: dict[Effort, int] = {"glance": 60, "quick": 200, "full": 500}
NUMBERS = ("score", "low", "high", "prior_only", "chance", "p")  # what every judged target must have


def attack(
    scenario: Scenario, row: str, base: Base, work: Path, *, condition: str, effort: Effort, seed: int, records: int = 0,
    most: int | None = None, tell: Tell,
) -> tuple[Guess | NoChannel | Failed, Scenario]:  # fmt: skip
    """One attack on as many of the records as it can afford, ``records`` at least and ``most`` at
    most, and what is known after it.

    What the server makes of the records, its ControlNet, is made (in ``work``, which is removed)
    when an attack lacks nothing else. Whatever an attack raises or returns, it is an answer: at
    worst ``Failed``.
    """
    name, _, variant = row.partition(":")
    module = attacks.attack(name)
    count = max(records, attempts.count(module, effort, variant) or module.COUNT["quick"])
    count = count if most is None else min(count, most)
    known, latents = scenario, scenario.get(Latents)
    offered = count if latents is None else min(count, latents.z.shape[1])

    def trying() -> object:
        answer = attacks.attempt(row, shuffle.shuffled(known.rows(count), seed), effort=effort, seed=seed, tell=tell)
        if isinstance(answer, Guess) and not answers.trouble(answer, offered):  # what has no rows cannot be put in order
            return shuffle.restored(answer, seed)
        return answer

    answer = answers.tried(trying, count=offered)
    if isinstance(answer, NoChannel) and answer.missing == (Trained,):
        try:
            known = scenario.having(*server_trains(scenario, base, work, condition=condition, effort=effort, seed=seed))
        except Exception as error:
            return Failed(f"the server's ControlNet could not be trained: {answers.cause(error)}"), scenario
        answer = answers.tried(trying, count=offered)
    return answer, known


def server_trains(scenario: Scenario, base: Base, work: Path, *, condition: str, effort: Effort, seed: int) -> list[Trained]:
    """The ControlNet that a server trains from the first release of latents and conditions; nothing
    where it gets no such pairs."""
    latents, conditions, mixed = scenario.get(Latents), scenario.get(Conditions), scenario.get(Mixed)
    if latents is None or (conditions is None and mixed is None):
        return []
    if conditions is not None:
        c, m = conditions.c[0], conditions.m[0]
    else:  # a one-way server has what it is to train on mixed with the latents, and takes it apart
        assert mixed is not None
        c, m = _evidence.unmixed(mixed, latents.z), torch.full_like(latents.n[0], CLEAN)
    records = Records(latents.z[0], c, latents.n[0], m, (), (), condition)
    shutil.rmtree(work, ignore_errors=True)
    settings = TrainConfig(steps=SERVER_STEPS[effort], seed=seed, held_out=0, precision=choose_precision())
    controlnet, found = load_latent_controlnet(train(records, base, work / "controlnet", settings), device=base.unet.device)
    shutil.rmtree(work, ignore_errors=True)
    return [Trained(controlnet, found)]


def show(answer: Guess, base: Base, path: Path) -> None:
    """Keep the first pictures of a guess, or conditions where it has none, for the report."""
    latents = answer.c if answer.z_0 is None else answer.z_0
    if answer.images is not None:
        pages.keep(path, answer.images)
    elif latents is not None:
        pages.keep(path, base.decode_pixels(latents[:10]))


def score(
    answer: Guess | NoChannel | Failed, truths: dict[str, Truth], priors: dict[str, Prior], base: Base, *, condition: str | None, seed: int
) -> dict[str, Any]:  # fmt: skip
    """One answer as JSON: by pool its targets' scores, or why there are none. Row i of a guess is
    of pool i modulo the number of pools.

    An answer that speaks of nothing that could be judged is ``not tested``: that is neither a
    success nor safety.
    """
    if isinstance(answer, NoChannel):
        return {"outcome": "no channel", "why": str(answer)}
    if isinstance(answer, Failed):
        return {"outcome": "failed", "why": answer.cause}
    pools: dict[str, Any] = {}
    for number, pool in enumerate(truths):
        own = answer.take(list(range(number, len(answer), len(truths))))
        try:
            found = guesses.score(own, truths[pool], priors[pool], base, condition=condition, seed=seed)
        except UserError as error:
            return {"outcome": "failed", "why": str(error)}
        except Exception as error:
            return {"outcome": "failed", "why": f"could not be scored: {answers.cause(error)}"}
        if odd := [target for target, kept in found.items() if not all(math.isfinite(kept[name]) for name in NUMBERS)]:
            return {"outcome": "failed", "why": f"could not be scored: its {odd[0]} gets no number"}
        if found:
            pools[pool] = found
    if not pools:
        return {"outcome": "not tested", "why": "nothing that it says can be judged here"}
    said = {"outcome": "scored", "pools": pools, "budget": answer.budget, "curve": answer.curve, "seconds": answer.seconds}
    return {name: answers.plain(value) for name, value in said.items()}
