"""Attack shared LoRA weights: train the attacker on public people, run it on files, evaluate it on private people."""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files as package
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from sfumato.adapters import formats
from sfumato.adapters.lora import Adapter, check_fits
from sfumato.adapters.thumbnails import pictures as pictures_in
from sfumato.attacker.attempt import Effort, Failed
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig, load
from sfumato.attacker.weights._shadows import Shadows
from sfumato.attacker.weights._train_autoencoder import train
from sfumato.attacker.weights.base import Class, File, Guess, PublicPeople, Published, Steps, Trigger
from sfumato.attacker.weights.network_autoencoder import Trained
from sfumato.core import faults
from sfumato.core.artifact import write_atomic, write_json
from sfumato.core.device import choose_device
from sfumato.core.errors import UserError
from sfumato.core.header import read_header
from sfumato.core.progress import TellOf
from sfumato.diffusion.base import DEFAULT, Base, load_base
from sfumato.features.efficientnet import features
from sfumato.judge.metrics.identity import judges
from sfumato.judge.metrics.recovery import feature_distance
from sfumato.judge.report import pages
from sfumato.owner.folder import read_folder
from sfumato.studies import lora_people, weights_candidates, weights_more, weights_table
from sfumato.studies.lora_people import CLASS_PROMPT, PeopleConfig

BASE = "the base itself, same prompt"
ATTACKED = "attack.json"  # what came of attack_files
WAIT = timedelta(days=7)  # for the first process, which trains the encoder alone: longer than the libraries' half an hour


def base_of(name: str = "tiny") -> Base:
    """The base of a study, where it computes fastest: of several processes, each on a device of its own. People are drawn for the tiny one,
    and enlarged for others."""
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
    """Public people's adapters, then an encoder of them, kept in ``out``. What is there is not made again.

    Several processes (``accelerate launch`` on GPUs, ``torchrun`` on CPUs) share the people; the first then trains the encoder, and each
    loads it.

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
    kept, latents, _ = lora_people.train_public(base, config, _of_public(work, config), rank=rank, world=world, tell=tell)
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


def _public(base: Base, config: PeopleConfig, work: Path) -> tuple[object, ...]:
    """What the attacker knows of public people: their pictures, and of as many as ``work`` has their adapters."""
    people = lora_people.public_people(config)
    images = lora_people.fitted(people.images, base)
    found = PublicPeople(images, base.encode_pixels(images), people.identities)
    adapters = lora_people.kept_public(base, people, _of_public(work, config), config)
    return (found,) if adapters is None else (found, adapters)


def _of_public(work: Path, config: PeopleConfig) -> Path:
    """Where public people's adapters are kept."""
    return work / ("public" if config.prior_batch else "public-no-prior")


def shipped(base: Base) -> Path:
    """The trained attacker that comes with the library: ``docs/results/weights.md`` says what it was made of and how far it gets.

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


def _named(base: Base, paths: list[Path]) -> dict[str, Autoencoder]:
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


def attack_files(
    base: Base, files: list[Path], attackers: list[Path], out: Path, *, truth: Path | None = None, steps: int | None = None, seed: int = 0,
    prompt: str = CLASS_PROMPT, effort: Effort = "quick", candidates: Path | None = None, work: Path | None = None,
    tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Run trained attackers on shared files, the one that ships where none is named; a file that cannot be attacked is named, and the
    others go on. With ``candidates``, other pictures of people, also who of them it is, calibrated by public people's adapters in ``work``.

    Returns:
        by file what its header says; where the pictures are, which attacks ``failed``, and with ``truth`` how near each came, beside
        what the base itself draws; as ``line up`` who of the candidates comes first; or, as ``error``, why there are no pictures.
    """
    line_up = None if candidates is None else weights_candidates.read_candidates(candidates, base=base)
    public = () if line_up is None or work is None else _public(base, PeopleConfig(), work)
    encoders = _named(base, attackers or [shipped(base)])
    real = None
    if truth is not None:
        real = np.stack([example.image() for example in read_folder(truth, size=base.size, condition="canny")])
    found: dict[str, Any] = {"files": {}, "attackers": {name: card(model) for name, model in encoders.items()}}
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for number, path in enumerate(files):
        tell(path.name, number, len(files))
        name = next(name for name in (path.name, str(path), f"{path} ({number + 1})") if name not in found["files"])
        sheet = out / (f"{path.stem}.png" if path.stem not in taken else f"{path.stem}-{number + 1}.png")
        taken.add(path.stem)
        answer: dict[str, Any] = {"header": {}}
        found["files"][name] = answer
        try:
            data = formats.read_file(path)
            answer["header"] = _header(data, effort=effort)
            answer["written out"] = _pictures(data, sheet)
            adapter = formats.parse(data, name=str(path), config=formats.config_beside(path))
            answer |= _one(
                base, adapter, encoders, sheet, header=answer["header"], real=real, steps=steps, seed=seed, prompt=prompt, effort=effort
            )  # fmt: skip
            if line_up is not None:
                known = Scenario(base, Published(formats.read(path)), Class(prompt), *public)
                answer["line up"] = weights_candidates.rank(known, *line_up, effort=effort, seed=seed)
        except UserError as error:
            answer["error"] = str(error)
        except Exception as error:  # a fault of ours with this file takes nothing from the others
            answer["error"] = f"{path}: {faults.keep(error)}"
    write_json(out / ATTACKED, found)
    return found


def _header(data: bytes, *, effort: Effort) -> dict[str, Any]:
    """What a file says beside its weights: that needs none that can be used."""
    found = attacks.attempt("metadata", Scenario(File(data)), effort=effort)
    return (found.facts or {}) if isinstance(found, Guess) else {}


def _pictures(data: bytes, sheet: Path) -> list[str]:
    """Write the pictures of a header beside ``sheet``, for their owner to look at; what they are called says where they come from."""
    written = []
    for number, picture in enumerate(pictures_in(read_header(data).notes), 1):
        path = sheet.with_name(f"{sheet.stem}-header-picture-{number}.{picture.suffix}")
        write_atomic(path, picture.data, private=True)
        written.append(str(path))
    return written


def _one(
    base: Base, adapter: Adapter, encoders: dict[str, Autoencoder], sheet: Path, *, header: dict[str, Any], real: np.ndarray | None,
    steps: int | None, seed: int, prompt: str, effort: Effort,
) -> dict[str, Any]:  # fmt: skip
    """What anybody gets by sampling, with the trigger where the header gives it away; then what each encoder reads. One that comes to
    nothing takes nothing from the others."""
    check_fits(adapter, base)
    known = Scenario(base, Published(adapter), Class(prompt))
    if (told := header.get("steps") if steps is None else steps) is not None:
        known = known.having(Steps(int(told)))
    rows = [(name, name, known) for name in ("prior_sampling:class_prompt", "prior_sampling:rare_tokens")]
    for trigger in header.get("triggers", [])[:1]:
        called = known.having(Trigger(f"{prompt.rpartition(' ')[0]} {trigger} {prompt.rpartition(' ')[2]}"))
        rows.append(("guided_extraction:plain, trigger of the header", "guided_extraction:plain", called))
    for name, model in encoders.items():
        kind = model.config.encoder
        rows.append((f"network_autoencoder:{name}", f"network_autoencoder:{kind}", known.having(Trained({kind: model}))))
    shown = [] if real is None else [("private", real)]
    answer: dict[str, Any] = {"unknown keys": list(adapter.unknown), "scores": {}, "budget": {}, "failed": {}}
    if real is not None:
        shown.append((BASE, weights_table.drawn(base, prompt, effort, seed)))
        answer["scores"][BASE] = _near(shown[-1][1], real)
    for label, row, given in rows:
        guess = attacks.attempt(row, given, effort=effort, seed=seed)
        if not isinstance(guess, Guess) or guess.images is None:
            answer["failed"][label] = guess.cause if isinstance(guess, Failed) else str(guess)
            continue
        shown.append((label, guess.images))
        answer["budget"][label] = guess.budget
        if real is not None:
            answer["scores"][label] = _near(guess.images, real)
    write_atomic(sheet, pages.png(pages.contact_sheet(shown)))
    return {**answer, "pictures": str(sheet)}


def _near(images: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Cosine of identities, and the EffLite0 distance to the nearest private picture: 0 is a copy."""
    own, other = (judges().embed(some).mean(axis=0) for some in (images, real))
    alike = float(own @ other / max(1e-12, np.linalg.norm(own) * np.linalg.norm(other)))
    a, b = (features(some, size=128) for some in (images, real))
    pairs = feature_distance(np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1)))
    return {"identity similarity": alike, "nearest private picture": float(pairs.min())}


def study(
    base: Base, config: PeopleConfig, work: Path, out: Path, attackers: list[Path], *, odd: bool = False, more: bool = False,
    anyway: bool = False, only: tuple[str, ...] = (), effort: Effort = "quick",
    command: str = "sfumato attack-weights evaluate", tell: TellOf = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Private people's adapters, and every attack on each of them (or those rows of ``only``), unless the gate is not passed; see
    ``weights_table.evaluate``. Where no attacker is named it is the one that ships, if one does for ``base``."""
    models = _named(base, attackers or ([shipped(base)] if base.name == DEFAULT else []))
    victims = lora_people.train_victims(base, config, work / "victims", odd=odd, tell=tell)
    known = Scenario(base, *_public(base, config, work))
    rows = tuple(row for row in weights_table.all_rows(models) if not only or row.attack in only)
    figures = weights_table.evaluate(
        base, victims, rows, known, config, out, models=models, effort=effort, anyway=anyway, command=command, tell=tell
    )
    if more and (figures["gate"]["passed"] or anyway) and "more" not in figures:
        figures["more"] = {
            "membership": weights_more.membership(base, victims, config, effort=effort, shadowed=4, tell=tell),
            "dataset_size": weights_more.dataset_size(base, config, work / "sizes", tell=tell),
            "merging": weights_more.merging(base, victims[:8], config, effort=effort),
        }
        write_json(out / "weights.json", figures)
    return figures
