"""On how many pictures was an adapter trained?"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.adapters.trajectories import Store, train_all
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import Guess, Published
from sfumato.attacker.weights.dataset_size import Sized
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import Base
from sfumato.pictures import store
from sfumato.studies.lora import people
from sfumato.studies.lora.people import PeopleConfig

SIZES = (1, 2, 3, 5, 8)


def measure(
    base: Base, config: PeopleConfig, folder: Path, *, known: int = 8, asked: int = 4, tell: TellOf = lambda what, done, total: None
) -> dict[str, Any]:
    """On how many pictures was it trained? ``known`` adapters of each of ``SIZES`` to learn from,
    ``asked`` of other people to be guessed; all by the usual recipe, which the attacker knows.
    Chance is 1 in 5."""
    count = known + asked
    drawn = store.distinct(
        people.STYLE, "public", count * len(SIZES), max(SIZES), seed=config.seed, purpose="lora sizes"
    )  # fmt: skip
    latents = base.encode_pixels(people.fitted(drawn.images, base)).unflatten(0, (-1, max(SIZES)))
    of_class, tasks, sizes = people.class_of(base, config.seed), {}, {}
    for k, own in enumerate(latents):
        name, size = f"size-{k:04d}", SIZES[k % len(SIZES)]
        prompt = people.prompt_of(random.Random(f"{config.seed}/{name}"))
        tasks[name], sizes[name] = people.task_of(own[:size], prompt=prompt, seed=config.seed + k, of_class=of_class), size
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
