"""Who is fine-tuned on in the study of shared weights: public people by the engine, private ones by
the ordinary path.

The attacker's recipe is not exactly the victim's: victims draw their number of steps and their rate
from a stated range, and odd ones have another rank and other targets altogether.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sfumato.adapters import formats
from sfumato.adapters.dreambooth import FinetuneConfig, Task, class_latents
from sfumato.adapters.lora import LoraSettings
from sfumato.adapters.train_one import train_one
from sfumato.adapters.trajectories import Store, train_all
from sfumato.attacker.weights._shadows import PublicAdapters, Shadows
from sfumato.core.artifact import read_json, sha256, write_json
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.features.identity import half
from sfumato.pictures import store
from sfumato.pictures.store import PictureSet

STYLE = "open-peeps"
POOLS = ("recombined", "unseen_part")
KIND = "peep"
CLASS_PROMPT = f"a photo of {KIND}"
CLASS_PICTURES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PeopleConfig:
    """How many people, and how each is trained.

    Attributes:
        public: people whose adapters the attacker trains.
        victims: private people of each pool; odd ones are the same people, fine-tuned by another
            recipe.
        each: pictures of each person that are trained on; as many others go to the gallery.
        rank, steps, batch, lr: of the usual recipe.
        prior_batch: pictures of the class in every step; 0 for no prior preservation.
        keep: how many steps of each public adapter are kept, evenly up to the last.
        steps_range, lr_range: of victims, as multiples of the recipe's. Public people are trained
            for as long as the longest victim, each at a rate of its own in that range: the attacker
            knows the range, and no victim's numbers.
        odd_rank, odd_targets: of odd victims.
        together: adapters at once.
        seed: of all of it.
    """

    public: int = 400
    victims: int = 25
    each: int = 5
    rank: int = 16
    steps: int = 120
    batch: int = 5
    prior_batch: int = 1
    lr: float = 3e-3
    keep: int = 16
    steps_range: tuple[float, float] = (0.6, 1.4)
    lr_range: tuple[float, float] = (0.7, 1.4)
    odd_rank: int = 8
    odd_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    together: int = 16
    precision: str = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("public", "victims", "each", "keep", "together"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}", expected="at least 1")

    @property
    def lora(self) -> LoraSettings:
        """The attacker's idea of an adapter."""
        return LoraSettings(rank=self.rank)

    @property
    def finetune(self) -> FinetuneConfig:
        """The usual recipe."""
        return FinetuneConfig(
            steps=self.steps, batch=self.batch, prior_batch=max(1, self.prior_batch), lr=self.lr, precision=self.precision
        )

    @property
    def public_steps(self) -> int:
        """For how many steps public people are trained."""
        return round(self.steps * self.steps_range[1])

    @property
    def kept(self) -> tuple[int, ...]:
        """The steps that are kept of public adapters, the last among them."""
        return tuple(sorted({max(1, round(self.public_steps * (k + 1) / self.keep)) for k in range(self.keep)}))


@dataclass(frozen=True, eq=False)
class Victim:
    """One private person: the shared file, the pictures it was made from, and what only the owner
    and the judge know."""

    name: str
    pool: str
    file: Path
    pictures: PictureSet
    facts: dict[str, Any]


def public_people(config: PeopleConfig) -> PictureSet:
    """The attacker's people, of the half that the judge's head never saw; ``each`` pictures of
    each, person by person."""
    return store.distinct(
        STYLE, "public", config.public, config.each, seed=config.seed, purpose="lora public", keep=lambda key: half(key) == 1
    )


def fitted(images: np.ndarray, base: Base) -> np.ndarray:
    """Pictures uint8 ``(N, H, W, 3)`` at the size of ``base``."""
    side = base.size
    if images.shape[1:3] == (side, side):
        return images
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in images])


def name_of(number: int) -> str:
    """Of a public person, in the store."""
    return f"person-{number:04d}"


def train_public(
    base: Base, config: PeopleConfig, folder: Path, *, rank: int = 0, world: int = 1, tell: TellOf = lambda what, done, total: None
) -> tuple[Store, dict[str, torch.Tensor], PictureSet]:
    """Every public person's adapter at every kept step; what ``folder`` has is not trained again.

    Args:
        base: the base.
        config: of whom.
        folder: the store's.
        rank, world: of several processes, this one.
        tell: progress.

    Returns:
        the store, latents ``(each, 4, h, w)`` by name, and the pictures.
    """
    people = public_people(config)
    tell("encoding public people", 0, 0)
    latents = base.encode_pixels(fitted(people.images, base)).unflatten(0, (config.public, config.each))
    mine = class_of(base, config.seed) if config.prior_batch else None
    seeds = random.Random(f"{config.seed}/public seeds")
    tasks = {
        name_of(k): task_of(latents[k], prompt=prompt_of(seeds), seed=seeds.randrange(2**62), of_class=mine, lr=_rate(config, seeds))
        for k in range(config.public)
    }
    kept = Store(folder)
    train_all(
        base, tasks, config.lora, replace(config.finetune, steps=config.public_steps), kept, keep=config.kept, together=config.together,
        dtype=torch.float16, rank=rank, world=world, on_step=lambda done, total: tell("public adapters", done, total),
    )  # fmt: skip
    return kept, {name: task.latents for name, task in tasks.items()}, people


def kept_public(base: Base, people: PictureSet, folder: Path, config: PeopleConfig) -> PublicAdapters | None:
    """The adapters of ``people`` that ``folder`` has, at the steps at which people share one; None
    where it has fewer than two.

    Args:
        base: the base.
        people: as ``public_people`` gives them.
        folder: where ``train_public`` keeps them.
        config: of whom.
    """
    kept, found, names, runs = Store(folder), [], [], []
    there = set(kept.names()) if folder.exists() else set()
    for k, person in enumerate(people.identities[:: config.each]):
        if (name := name_of(k)) not in there:
            continue
        facts = read_json(folder / f"{name}.json", what="facts of an adapter")
        if facts.get("base") != base.unet_fingerprint:
            raise UserError(f"{folder}: adapters of another base", expected=f"of {base.public_name!r}", fix="choose another --work")
        found.append((kept.get(name).since(0.4), torch.zeros(1, *base.latent_shape)))  # nobody asks for their latents
        names.append(person)
        runs.append(str(facts["run"]))
    return PublicAdapters(Shadows.of(found), tuple(names), sha256("".join(runs).encode())) if len(found) > 1 else None


def train_victims(
    base: Base, config: PeopleConfig, folder: Path, *, odd: bool = False, tell: TellOf = lambda what, done, total: None
) -> list[Victim]:
    """Every private person's adapter, by PEFT, one after another, as a file that is shared; an
    interrupted one goes on."""
    found: list[Victim] = []
    of_class = cache(lambda: class_of(base, config.seed + 1) if config.prior_batch else None)  # drawn once, if somebody is trained
    kind = ("odd-" if odd else "") + ("" if config.prior_batch else "no-prior-")
    for pool in POOLS:
        people = store.distinct(STYLE, pool, config.victims, 2 * config.each, seed=config.seed, purpose="lora victims")  # type: ignore[arg-type]
        for number in range(config.victims):
            name = f"{kind}{pool}-{number:03d}"
            tell("victims", len(found), len(POOLS) * config.victims)
            rows = slice(2 * config.each * number, 2 * config.each * (number + 1))
            pictures = PictureSet(
                images=people.images[rows], captions=people.captions[rows], attributes=people.attributes[rows],
                identities=people.identities[rows],
            )  # fmt: skip
            found.append(_victim(base, config, folder, name, pool, pictures, of_class, odd=odd))
    return found


def _victim(
    base: Base, config: PeopleConfig, folder: Path, name: str, pool: str, pictures: PictureSet, of_class: Callable[[], torch.Tensor | None],
    *, odd: bool,
) -> Victim:  # fmt: skip
    """The owner's draws of steps and rate come of a stream that the attacker does not have."""
    path, draws = folder / f"{name}.safetensors", random.Random(f"{config.seed}/owner of {name}")
    steps = round(config.steps * draws.uniform(*config.steps_range))
    lr = _rate(config, draws)
    lora = LoraSettings(rank=config.odd_rank, targets=config.odd_targets) if odd else config.lora
    prompt = prompt_of(draws)
    facts = {
        "prompt": prompt, "steps": steps, "lr": lr, "rank": lora.rank, "targets": list(lora.targets), "unet": base.unet_fingerprint,
        "each": config.each, "batch": config.batch, "prior_batch": config.prior_batch, "precision": config.precision,
    }  # fmt: skip
    kept = path.with_suffix(".json")
    if not (path.exists() and kept.exists() and read_json(kept, what="victim") == facts):
        task = task_of(
            base.encode_pixels(fitted(pictures.images[: config.each], base)),
            prompt=prompt,
            seed=draws.randrange(2**62),
            of_class=of_class(),
        )
        finetune = replace(config.finetune, steps=steps, lr=lr)
        checkpoint = path.with_suffix(".checkpoint.safetensors")
        trained = train_one(base, task, lora, finetune, checkpoint=checkpoint)
        kept.unlink(missing_ok=True)  # which would vouch for what is about to be written
        formats.write(trained.adapter, path)
        write_json(kept, facts)
        checkpoint.unlink(missing_ok=True)
    return Victim(name, pool, path, pictures, facts)


def prompt_of(draws: random.Random) -> str:
    """What an owner calls its person by: a word of its own that means nothing, so that nobody finds
    it by trying usual ones."""
    word = "".join(draws.choice("bcdfghjklmnpqrstvwxz") + draws.choice("aeiouy") for _ in range(3))
    return f"a photo of {word} {KIND}"


def _rate(config: PeopleConfig, draws: random.Random) -> float:
    return config.lr * draws.uniform(*config.lr_range)


def task_of(latents: torch.Tensor, *, prompt: str, seed: int, of_class: torch.Tensor | None, lr: float | None = None) -> Task:
    """One person's training: latents ``(N, 4, h, w)`` under one prompt, the class's pictures beside
    them."""
    return Task(latents=latents, prompts=(prompt,) * len(latents), seed=seed, class_latents=of_class, class_prompt=CLASS_PROMPT, lr=lr)


def class_of(base: Base, seed: int) -> torch.Tensor:
    """Latents of what the base draws for the class: what an adapter must not forget."""
    found: torch.Tensor = class_latents(base, CLASS_PROMPT, CLASS_PICTURES, generator=generator(seed, 41))
    return found
