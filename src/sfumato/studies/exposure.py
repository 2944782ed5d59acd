"""What an attacker gets from an owner's own records, before anybody else has them.

The owner holds the pictures, so every guess can be scored: records are matched with their pictures first. The attackers are given what a
server would be given, and public pictures of other people; they never see the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato import __version__
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Candidates, Conditions, Latents, Mechanism, People, Public, Scenario, Trained
from sfumato.attacker.records import base as attacks
from sfumato.core import registry
from sfumato.core.artifact import read_json, sha256, write_atomic, write_json
from sfumato.core.errors import UserError
from sfumato.defences import latent_clip
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.judge import gates
from sfumato.judge.audit.matching import match
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.guesses import Truth
from sfumato.judge.metrics.identity import MINIMUM
from sfumato.judge.report import pages
from sfumato.judge.report.matrix import WORDS
from sfumato.owner.folder import read_folder
from sfumato.pictures import store
from sfumato.records import reader
from sfumato.records.reader import Records
from sfumato.records.record import SealSettings
from sfumato.studies import leaks, line_up, redteam

SCHEME = "records"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureConfig:
    """How hard records are attacked.

    Attributes:
        attacks: rows of ``attacks.rows()``; empty for all.
        effort: of each attack.
        base: that the records were sealed for.
        public: a folder of other people's pictures of the same kind; None for invented people, which suit the tiny base.
        controlnet: what the server has trained from the records; None: one is trained here, as a server would.
        people, each: how many invented public people, and pictures of each.
        seed: of everything that attackers draw.
    """

    attacks: tuple[str, ...] = ()
    effort: Effort = "quick"
    base: str = "tiny"
    public: Path | None = None
    controlnet: Path | None = None
    people: int = 300
    each: int = 8
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Pictures:
    """A folder's pictures: uint8 ``images`` and ``conditions`` ``(N, H, W, 3)``, captions and people, each its own where nobody says."""

    images: np.ndarray
    conditions: np.ndarray
    captions: list[str]
    people: list[str]
    labelled: bool

    def digest(self) -> str:
        """Of all of it: what is scored depends on who is on the pictures as well."""
        said = json.dumps([self.captions, self.people, self.labelled]).encode()
        return sha256(self.images.tobytes() + self.conditions.tobytes() + said)

    @classmethod
    def read(cls, folder: Path, *, size: int, condition: str) -> Pictures:
        """Read all of a folder; a file that cannot be read was left out of the records, too, and is left out here."""
        listed = read_folder(folder, size=size, condition=condition)
        found, drawn = [], []
        for example in listed:
            try:
                drawn.append(listed.pixels(example))
                found.append(example)
            except UserError:
                continue
        if not found:
            raise UserError(f"{folder}: no picture that can be read", expected="the folder that was sealed")
        people = [example.person or f"picture {number}" for number, example in enumerate(found)]
        images, conditions = (np.stack(several) for several in zip(*drawn, strict=True))
        return cls(images, conditions, [example.caption for example in found], people, all(example.person for example in found))


def run(
    folder: Path, truth_folder: Path, out: Path, config: ExposureConfig, *,
    asked: dict[str, dict[str, Any]], command: str = "sfumato attack", tell: Tell = lambda what, done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Attack the records in ``folder``, score against ``truth_folder``, check the gates ``asked``; goes on where ``out`` stopped.

    Raises:
        UserError: records that cannot be believed or are not of these pictures, or settings that do not fit what ``out`` holds.
    """
    base = load_base(config.base)
    records = reader.load([folder], codec=base)
    settings = records.manifests[0].settings
    tell("reading the pictures", 0, 0)
    pictures = Pictures.read(truth_folder, size=base.size, condition=settings.condition)
    clean = base.encode_pixels(pictures.images), base.encode_pixels(pictures.conditions)
    own = _matched(records, clean, settings, base)
    truth, note = _truth(pictures, own, clean, settings, base, config.seed)
    public = _public(base, settings, config, tell)
    scenario = _scenario(records, settings, base, public, clean, pictures, own, config)
    figures = _resumed(out, records, pictures, base, config)
    todo = [row for row in config.attacks or attacks.rows() if f"{SCHEME}/{row}" not in figures["cells"]]
    condition = _extractable(settings)
    scored: dict[str, Any] = {}
    if todo or "ceiling" not in figures:
        prior = line_up.prior(base, public, len(own), condition=condition or "canny", seed=config.seed)
        scored = {"truths": {SCHEME: truth}, "priors": {SCHEME: prior}, "base": base, "condition": condition, "seed": config.seed}
    if "ceiling" not in figures:
        decoded = redteam.cell(attacks.Guess(z_0=clean[0][own], c=clean[1][own]), **scored)
        figures["ceiling"] = decoded.get("pools", {}).get(SCHEME, {})
    for number, row in enumerate(todo, 1):
        telling = partial(tell, f"{row} ({number} of {len(todo)})")
        telling(0, 0)
        answer, scenario = redteam.attack(
            scenario, row, base, out / "work", condition=settings.condition, effort=config.effort, seed=config.seed, tell=telling
        )
        found = redteam.cell(answer, **scored)
        figures["cells"][f"{SCHEME}/{row}"] = found
        if isinstance(answer, attacks.Guess) and found["outcome"] == "scored":
            redteam.show(answer, base, out / "pictures" / f"{pages.named(row)}.npy")
        write_json(out / "attack.json", figures)
    pages.keep(out / "pictures" / "truth.npy", truth.images)
    pages.keep(out / "pictures" / "seen.npy", base.decode_pixels(records.z_n[:10]))
    table = redteam.matrix(figures["cells"]).get(SCHEME, {})
    left = {name: max(count, _releases(records)) for name, count in scenario.leaked().items()}
    checked = gates.check(asked, table, left, every=attacks.names(), unread=records.refused)
    figures |= {
        "command": command, "records": len(records), "attacks": table, "leaks": left, "gates": gates.as_rows(checked),
        "passed": {0: True, 1: False, 2: None}[gates.exit_code(checked)], "exit_code": gates.exit_code(checked), "person": note,
        "knowledge": sorted(kind.__name__ for kind in scenario.kinds()), "interval": "95 %, bootstrap over people",
        "correction": "Holm, over every test here",
    }  # fmt: skip
    write_json(out / "attack.json", figures)
    _page(out, figures, asked)
    return figures


def _releases(records: Records) -> int:
    """How often the picture that was released most often was, by the owner's own statement: earlier releases are not in the folder."""
    return max(int(manifest.privacy.get("releases", 1)) for manifest in records.manifests)


def _matched(records: Records, clean: tuple[torch.Tensor, torch.Tensor], settings: SealSettings, base: Base) -> np.ndarray:
    fields = [(records.z_n[:], records.n, latent_clip.apply(clean[0], settings.clip))]
    if not settings.derived:
        fields.append((records.c_m[:], records.m, latent_clip.apply(clean[1], settings.condition_clip)))
    return match(fields, base.schedule)


def _truth(
    pictures: Pictures, own: np.ndarray, clean: tuple[torch.Tensor, torch.Tensor], settings: SealSettings, base: Base, seed: int
) -> tuple[Truth, str]:
    """The truth of every record in order, and why people could not be tested, or the empty string.

    Of each person every other picture is looked for, and the rest, with the pictures that were not sealed, is in the gallery.
    """
    images, people = pictures.images[own], [pictures.people[i] for i in own]
    condition = _extractable(settings)
    edges = pictures.conditions[own].max(axis=-1) > 127 if condition is None else edges_of(images, condition)
    truth = Truth(
        images, edges, [pictures.captions[i] for i in own], people, own, latents=(clean[0][own], clean[1][own])
    )  # fmt: skip
    if not pictures.labelled:
        return truth, "no `person` column in the pictures' metadata: whether people can be recognised was not tested"
    if base.public_name != "tiny":
        return truth, "the judge's identity network knows invented people only: whether people can be recognised was not tested"
    order = np.argsort(own)
    seen: dict[str, int] = {}
    probes, others = [], [i for i in range(len(pictures.images)) if i not in set(own.tolist())]
    for row in order:
        seen[people[row]] = seen.get(people[row], 0) + 1
        if seen[people[row]] % 2:
            others.append(int(own[row]))
        else:
            probes.append(int(row))
    if not probes:
        return truth, "no person with two pictures: whether people can be recognised was not tested"
    known = list(dict.fromkeys(pictures.people[i] for i in others))
    missing = max(0, MINIMUM - len(known))
    gallery, names = pictures.images[others], [pictures.people[i] for i in others]
    if missing:
        strangers = store.distinct(line_up.STYLE, "held_out", missing, 2, seed=seed, purpose="strangers")
        gallery, names = np.concatenate([gallery, strangers.images]), names + [f"stranger {key}" for key in strangers.identities]
    gallery, index = np.unique(gallery, axis=0, return_index=True)
    return replace(truth, gallery=(gallery, [names[i] for i in index]), probes=np.array(sorted(probes))), ""


def _extractable(settings: SealSettings) -> str | None:
    """The records' condition, or None where it came with the folder."""
    supplied = getattr(registry.get("conditions", settings.condition), "SUPPLIED", False)
    return None if supplied else settings.condition


def _public(base: Base, settings: SealSettings, config: ExposureConfig, tell: Tell) -> Public:
    if config.public is not None:
        found = Pictures.read(config.public, size=base.size, condition=settings.condition)
        z_0, c = base.encode_pixels(found.images), base.encode_pixels(found.conditions)
        return Public(found.images, z_0, c, found.people, found.captions)
    condition = _extractable(settings)
    if base.public_name != "tiny" or condition is None:
        raise UserError(
            f"no public pictures for base {base.public_name!r}, condition {settings.condition!r}",
            expected="--public FOLDER: pictures of the same kind that anybody could have, of other people",
            privacy="an attacker without them looks weaker than a real one",
        )
    return line_up.attackers(base, config.people, config.each, condition=condition, seed=config.seed, tell=tell)


def _scenario(
    records: Records, settings: SealSettings, base: Base, public: Public, clean: tuple[torch.Tensor, torch.Tensor],
    pictures: Pictures, own: np.ndarray, config: ExposureConfig,
) -> Scenario:  # fmt: skip
    """What a server has, and besides, to be on the safe side, the candidates and which records show the same person."""
    known: list[object] = [Latents(records.z_n[None], records.n[None]), Mechanism(leaks.sealed(base, settings)), base, public]
    if not settings.derived:
        known.append(Conditions(records.c_m[None], records.m[None]))
    if config.controlnet is not None:
        known.append(Trained(*load_latent_controlnet(config.controlnet, device=base.unet.device)))
    known.append(Candidates(*clean, line_up.copies(pictures.images, base, settings.condition) if _extractable(settings) else {}))
    if pictures.labelled:
        number = {person: k for k, person in enumerate(dict.fromkeys(pictures.people))}
        known.append(People(torch.tensor([number[pictures.people[i]] for i in own])))
    return Scenario(*known)


def _digest(path: Path | None) -> str:
    """What is at a path: of a folder, every file's name and bytes."""
    if path is None:
        return ""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return sha256("".join(f"{file.relative_to(path)} {sha256(file.read_bytes())}\n" for file in files).encode())


def _resumed(out: Path, records: Records, pictures: Pictures, base: Base, config: ExposureConfig) -> dict[str, Any]:
    path = out / "attack.json"
    settings = {
        "records": records.digest(), "pictures": pictures.digest(), "effort": config.effort, "seed": config.seed,
        "base": base.unet_fingerprint, "public": _digest(config.public), "controlnet": _digest(config.controlnet), "people": config.people,
        "each": config.each, "version": __version__,
    }  # fmt: skip
    figures: Any = read_json(path, what="audit") if path.exists() else {"settings": settings, "cells": {}}
    if not isinstance(figures, dict) or figures.get("settings") != json.loads(json.dumps(settings)):
        raise UserError(f"{path}: an audit of other records, pictures or settings", fix="choose another --out, or move that one away")
    out.mkdir(parents=True, exist_ok=True)
    return figures


def _page(out: Path, figures: dict[str, Any], asked: dict[str, Any]) -> None:
    rows = [("your picture", "truth"), ("what the server sees", "seen"), *((row, row) for row in _told(figures))]
    shown = [(label, np.load(path)) for label, name in rows if (path := out / "pictures" / f"{pages.named(name)}.npy").exists()]
    sheet = pages.contact_sheet(shown)
    write = {**figures, "sheet": pages.data_url(sheet), "words": WORDS, "version": __version__}
    pages.write_page(out / "attack.html", "attack.html", write)
    write_atomic(out / "attack.png", pages.png(sheet))


def _told(figures: dict[str, Any]) -> list[str]:
    """Rows with pictures, those that got most first."""

    def likeness(row: str) -> float:
        return float(figures["cells"][f"{SCHEME}/{row}"]["pools"][SCHEME].get("picture", {"score": 0.0})["score"])

    scored = [name.partition("/")[2] for name, cell in figures["cells"].items() if cell["outcome"] == "scored"]
    return sorted(scored, key=likeness, reverse=True)
