"""The attacker who reads adapters: trained on public people's, or the one that ships; and what it
knows of the public."""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files as package
from pathlib import Path
from typing import Any

from accelerate import PartialState

from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig, load
from sfumato.attacker.weights._shadows import Shadows
from sfumato.attacker.weights._train_autoencoder import train
from sfumato.attacker.weights.base import PublicPeople
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import DEFAULT, Base, load_base
from sfumato.studies.lora import people
from sfumato.studies.lora.people import PeopleConfig

WAIT = timedelta(days=7)  # for the first process, which trains the encoder alone: longer than the libraries' half an hour


def base_of(name: str = "tiny") -> Base:
    """The base of a study, where it computes fastest: of several processes, each on a device of its
    own. People are drawn for the tiny one, and enlarged for others."""
    return load_base(name, device=str(_processes().device))


def _processes() -> PartialState:
    """This process among those that were launched together."""
    return PartialState(cpu=choose_device() == "cpu", timeout=WAIT)


def train_attacker(
    base: Base,
    config: PeopleConfig,
    work: Path,
    out: Path,
    options: dict[str, Any],
    *,
    overwrite: bool = False,
    tell: TellOf = lambda what, done, total: None,
) -> Autoencoder:
    """Public people's adapters, then an encoder of them, kept in ``out``. What is there is not made
    again.

    Several processes (``accelerate launch`` on GPUs, ``torchrun`` on CPUs) share the people; the
    first then trains the encoder, and each loads it.

    Args:
        base: the base.
        config: of the people.
        work: where their adapters are kept.
        out: the attacker's file.
        options: of ``AutoencoderConfig``.
        overwrite: replace another run's attacker, or its checkpoint.
        tell: progress.
    """
    settings = AutoencoderConfig(**options, precision=config.precision)
    processes = _processes()
    rank, world = processes.process_index, processes.num_processes
    kept, latents, _ = people.train_public(base, config, _adapters(work, config), rank=rank, world=world, tell=tell)
    processes.wait_for_everyone()
    if not processes.is_main_process:
        processes.wait_for_everyone()
        return load(out, base)
    made = train(
        base, Shadows.read(kept, latents), settings, checkpoint=out.with_suffix(".checkpoint.safetensors"), out=out,
        overwrite=overwrite,
        tell=lambda done, total: tell("encoder", done, total),
    )  # fmt: skip
    processes.wait_for_everyone()
    return made


def of_public(base: Base, config: PeopleConfig, work: Path) -> tuple[object, ...]:
    """What the attacker knows of public people: their pictures, and of as many as ``work`` has
    their adapters."""
    drawn = people.public_people(config)
    images = people.fitted(drawn.images, base)
    shown = PublicPeople(images, base.encode_pixels(images), drawn.identities)
    adapters = people.kept_public(base, drawn, _adapters(work, config), config)
    return (shown,) if adapters is None else (shown, adapters)


def _adapters(work: Path, config: PeopleConfig) -> Path:
    """Where public people's adapters are kept."""
    return work / ("public" if config.prior_batch else "public-no-prior")


def shipped(base: Base) -> Path:
    """The trained attacker that comes with the library: ``docs/results/weights.md`` says what it
    was made of and how far it gets.

    Raises:
        UserError: the base is not the one that it comes for.
    """
    if base.name != DEFAULT:
        raise UserError(
            f"no --attacker for base {base.public_name!r}",
            expected=f"a file that attack-weights train wrote: the one that ships is for {DEFAULT!r}",
            fix="sfumato attack-weights train --base ... -o attacker.safetensors",
        )
    return Path(str(package("sfumato") / "assets" / "lora_attacker.safetensors"))


def is_first() -> bool:
    """Whether this is the process that speaks, where several were launched."""
    return bool(_processes().is_main_process)


def card(model: Autoencoder) -> dict[str, str]:
    """What an attacker knows and was made of, in words."""
    facts = model.facts
    return {
        "encoder": model.config.encoder,
        "base": model.base[:12],
        "trained on": f"{facts.get('people', 0)} public people, {facts.get('adapters', 0)} adapters",
        "steps": f"{model.steps[0]} to {model.steps[-1]}",
        "adapters": f"rank {model.layout.rank}, {len(model.layout.sides)} layers",
        "needs": "the shared file; the base; nothing of the owner",
        "guarantee": "none",
    }


def named(base: Base, paths: list[Path]) -> dict[str, Autoencoder]:
    """Trained attackers by encoder, or by file name where several have the same.

    Raises:
        UserError: two files that would be called the same.
    """
    found = [(path, load(path, base)) for path in paths]
    kinds = [model.config.encoder for _, model in found]
    names = [model.config.encoder if kinds.count(model.config.encoder) == 1 else path.stem for path, model in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two attackers called {twice!r}", expected="files of different names", fix="rename one of them")
    return {name: model for name, (_, model) in zip(names, found, strict=True)}
