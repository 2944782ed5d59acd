"""A pool on the disk: pictures that a server drew, round by round, and what owners said of them. All of it public or noised.

``pool.json`` says what it is for. ``round-N/`` holds the pictures of a round in parts, each whole or
absent, so that drawing goes on after a kill; ``tally.json``, what was counted before they were drawn
(not in round 1); and ``menu.safetensors``, written last: a round without it is not done.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.core import finished
from sfumato.core.artifact import from_bytes, read_json, to_bytes, write_atomic, write_json
from sfumato.core.errors import RecordError, UserError
from sfumato.diffusion.base import Base
from sfumato.records import menu as menus
from sfumato.records.menu import Menu

STATE, MENU, TALLY = "pool.json", "menu.safetensors", "tally.json"
KIND, SCHEMA = "sfumato-pool", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a pool is drawn and voted on.

    Attributes:
        count: pictures of each round.
        clusters: K, of each menu.
        owners: how many are expected to vote; it decides what they are told, and no guarantee.
        prompts: public prompts to draw the first round under, beside the empty one.
        network: the embedding that tells how alike pictures are.
        condition: the extractor of what a ControlNet of this pool will follow.
        seed: of the server's own draws.
        steps: of sampling.

    Raises:
        UserError: numbers that make no menu.
    """

    count: int = 1000
    clusters: int = 24
    owners: int = 1
    prompts: tuple[str, ...] = ()
    network: str = menus.NETWORK
    condition: str = "canny"
    seed: int = 0
    steps: int = 25

    def __post_init__(self) -> None:
        if not 2 <= self.clusters <= menus.CLUSTERS:
            raise UserError(f"{self.clusters} clusters", expected=f"2 to {menus.CLUSTERS}")
        if self.count < 2 * self.clusters:
            raise UserError(f"{self.count} pictures for {self.clusters} clusters", expected="at least two for each")
        if self.owners < 1 or self.steps < 1:
            raise UserError(f"{self.owners} owners, {self.steps} steps", expected="at least 1 of each")


@dataclass(frozen=True)
class Pool:
    """A pool in ``folder``, of a base: fingerprints of its VAE and of its UNet."""

    folder: Path
    id: str
    base: str
    unet: str
    settings: Settings

    @property
    def round(self) -> int:
        """The last round whose menu is done; 0 before the first is."""
        number = 0
        while (self.place(number + 1) / MENU).exists():
            number += 1
        return number

    def place(self, round: int) -> Path:
        """Where a round lies."""
        return self.folder / f"round-{round}"

    def menu(self, round: int) -> Menu:
        """The menu of a round that is done."""
        return menus.read(self.place(round) / MENU)

    def tally(self, round: int) -> dict[str, Any] | None:
        """What was counted before this round was drawn; None where nothing was."""
        path = self.place(round) / TALLY
        return read_json(path, what="tally of ballots") if path.exists() else None

    def part(self, round: int, number: int, count: int) -> tuple[torch.Tensor, np.ndarray] | None:
        """Latents ``(count, 4, h, w)`` and embeddings ``(count, D)`` of one part; None where it must be drawn (again)."""
        path = self._part(round, number)
        if not path.exists():
            return None
        try:
            tensors = from_bytes(path.read_bytes(), name=str(path))
            z_0, embedded = tensors["z_0"].float(), tensors["embedded"].numpy()
        except (UserError, KeyError):
            return None
        return (z_0, embedded) if len(z_0) == len(embedded) == count else None

    def keep(self, round: int, number: int, z_0: torch.Tensor, embedded: np.ndarray) -> None:
        """Keep a part."""
        write_atomic(self._part(round, number), to_bytes({"z_0": z_0.half(), "embedded": torch.from_numpy(embedded)}))

    def pictures(self, round: int) -> tuple[torch.Tensor, np.ndarray]:
        """All latents ``(N, 4, h, w)`` and embeddings ``(N, D)`` of a round that is done.

        Raises:
            UserError: a part is gone or damaged.
        """
        found = []
        for number, count in enumerate(sizes(self.settings.count)):
            part = self.part(round, number, count)
            if part is None:
                raise UserError(f"{self._part(round, number)}: gone or damaged", fix="restore it, or start another pool")
            found.append(part)
        return torch.cat([z_0 for z_0, _ in found]), np.concatenate([embedded for _, embedded in found])

    def _part(self, round: int, number: int) -> Path:
        return self.place(round) / f"part-{number:05d}.safetensors"


BATCH = 32


def sizes(count: int) -> list[int]:
    """How many pictures each part of a round has."""
    return [min(BATCH, count - start) for start in range(0, count, BATCH)]


def is_pool(folder: Path) -> bool:
    """Whether ``folder`` is a pool, and none of records."""
    return (folder / STATE).is_file()


def create(folder: Path, base: Base, settings: Settings) -> Pool:
    """The pool in ``folder``, new or begun before with the same settings.

    Raises:
        UserError: another pool is there, or something else.
    """
    if is_pool(folder):
        found = read(folder, base)
        if found.settings != settings:
            raise UserError(f"{folder}: a pool with other settings", fix="use the same to go on, or another folder")
        return found
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        finished.keep(folder, overwrite=False, option="folder")
    about = {
        "kind": KIND, "schema": SCHEMA, "pool": secrets.token_hex(16), "base": base.fingerprint, "unet": base.unet_fingerprint,
        "settings": json.loads(json.dumps(asdict(settings))),
    }  # fmt: skip
    write_json(folder / STATE, about)
    return read(folder, base)


def read(folder: Path, base: Base) -> Pool:
    """The pool in ``folder``.

    Raises:
        RecordError: it is none, damaged, or of another base.
    """
    said = read_json(folder / STATE, what="pool")
    try:
        if said["kind"] != KIND or said["schema"] != SCHEMA:
            raise RecordError(f"{folder}: no pool of schema {SCHEMA}", fix="use the version of sfumato that started it")
        settings = {**said["settings"], "prompts": tuple(said["settings"]["prompts"])}
        found = Pool(folder, str(said["pool"]), str(said["base"]), str(said["unet"]), Settings(**settings))
    except RecordError:
        raise
    except (TypeError, KeyError, ValueError) as error:
        raise RecordError(f"{folder / STATE}: damaged ({error})", fix="restore it from a backup, or start another pool") from error
    if (found.base, found.unet) != (base.fingerprint, base.unet_fingerprint):
        raise RecordError(f"{folder}: a pool of another base", expected="the base that it was started with", fix="pass its --base")
    return found
