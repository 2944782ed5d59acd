"""Seal a folder of private pictures into one-way records: encode once, noise once, nothing comes back.

Write order for each shard: temporary file, line in the release ledger (on the disk), final name. The manifest comes last. Temporary
files lie beside the output folder, not in it: whatever is in the folder may leave the machine, and is counted.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.accounting import accountant, gaussian
from sfumato.core import registry
from sfumato.core.artifact import sync_folder
from sfumato.core.errors import PrivacyError, UserError
from sfumato.core.private import private
from sfumato.core.progress import Tell
from sfumato.core.randomness import Noise, SecureNoise
from sfumato.defences import pipeline
from sfumato.diffusion.base import Codec
from sfumato.owner import keys, release_folder
from sfumato.owner.ballot_ledger import BallotLedger
from sfumato.owner.folder import Example, Folder
from sfumato.owner.release_ledger import Entry, ReleaseLedger, locked
from sfumato.records import manifest as manifests
from sfumato.records import privacy
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest
from sfumato.records.record import SHARD_RECORDS, SealSettings

_ENCODE = 16


@dataclass
class Summary:
    """What a seal did; ``skipped`` are reports on files that were left out, ``cropped`` counts those sealed in part, ``earlier``, in a
    trial, those that were released before; ``person`` is how many pictures the person with most has at most, None where nobody is named."""

    manifest: Manifest | None = None
    sealed: int = 0
    resumed: int = 0
    duplicates: int = 0
    cropped: int = 0
    earlier: int = 0
    person: int | None = None
    skipped: list[str] = field(default_factory=list)


def seal(
    folder: Folder,
    out: Path,
    *,
    owner: str,
    codec: Codec,
    settings: SealSettings,
    allow_rerelease: bool = False,
    trial: bool = False,
    noise: Noise | None = None,
    store: Path | None = None,
    on_picture: Tell = lambda done, total: None,
) -> Summary:
    """Seal ``folder`` into ``out``. Running it again after a kill goes on where it stopped, with no second draw.

    Args:
        folder: the private pictures; read one after another.
        out: where the records go; everything in it may leave the machine, if it is no trial.
        owner: the name under which the records are signed.
        codec: the base's VAE and schedule.
        settings: steps, clips and condition.
        allow_rerelease: go on although some pictures were released before; their releases compose.
        trial: make records to attack and to look at, which must not leave this machine: ``out`` is made its owner's alone, the manifest is
            signed as a trial, which nobody trains from, and nothing is counted as released. The noise is a draw of its own.
        noise: a source other than the system's secure one marks the manifest; for tests only.
        store: where keys and ledger live; ``$SFUMATO_HOME`` by default.
        on_picture: called with (pictures done, pictures in all).

    Raises:
        PrivacyError: a picture was released before.
        UserError: nothing usable in the folder, or ``out`` holds another release.
    """
    noise = noise or SecureNoise()
    _check_steps(settings, codec)
    ledger_home = keys.ledger_folder(store)
    with locked(ledger_home), ExitStack() as stack:
        key = keys.signing_key(keys.owner_folder(owner, store))
        name_key = keys.ledger_key(ledger_home)
        released = ReleaseLedger(ledger_home, name_key)
        ledger = ReleaseLedger(ledger_home, name_key, trials=True) if trial else released
        public_key = manifests.public_hex(key)
        wanted = {"settings": asdict(settings), "base": codec.fingerprint, "key": public_key, "secure": noise.secure}
        wanted[release_folder.CROPPED] = folder.crop
        release = release_folder.open_release(out, ledger_home, ledger, wanted, trial=trial)
        aside = release_folder.aside_of(out)
        if trial:
            stack.enter_context(private(aside))
            stack.enter_context(private(out))
        done = release_folder.recover(out, aside, ledger.of_release(release), trial=trial)
        summary = Summary(resumed=sum(entry.records for entry in done))
        summary.person = release_folder.remember_person(out, ledger_home, largest_person(folder), trial=trial)
        refused = set() if allow_rerelease else released.names(release, others=True)
        source = _Source(folder, ledger, ledger.names(release), refused, summary, trial)
        if source.refused and not trial:
            source.refuse_rereleased()
        left = privacy.releases(settings, codec.schedule, secure=noise.secure)
        mu = _finite(accountant.total(left))
        for names, z_0, c in _encoded(source.pending(noise, on_picture), codec, derived=settings.derived):
            entry, data = shards.pack(pipeline.seal(z_0, c, settings, codec.schedule, noise=noise))
            release_folder.write_aside(aside / entry.file, data)
            pictures, files, conditions = (list(filter(None, column)) for column in zip(*names, strict=True))
            ledger.append(Entry(release, entry.sha256, entry.records, entry.bytes, pictures, files, mu, conditions))
            os.replace(aside / entry.file, out / entry.file)
            sync_folder(out)
            done.append(entry)
            summary.sealed += entry.records
        if not done:
            reason = f"; first: {summary.skipped[0]}" if summary.skipped else ""
            raise UserError(f"{folder.path}: no picture could be sealed{reason}", fix="mend or replace the files named")
        aside.rmdir()
        more = ledger.of_release(release) if trial else ()
        cast = BallotLedger(ledger_home, name_key, look=True).as_releases()  # votes of the same pictures compose with it
        others_mu, others = _worst(released.draws(release, more=[*more, *cast]), mu)
        summary.manifest = Manifest(
            owner=owner,
            public_key=public_key,
            release=release,
            base={"name": manifests.base_name(codec.public_name), "fingerprint": codec.fingerprint},
            shape=codec.latent_shape,
            settings=settings,
            shards=tuple(done),
            privacy=privacy.statement(left, others=others, others_mu=others_mu, withdrawn=released.withdrawn_of(release, more=more)),
            secure_noise=noise.secure,
            version=__version__,
            standing="trial" if trial else "release",
        )
        manifests.write(summary.manifest, out, key)
    return summary


def largest_person(folder: Folder) -> int | None:
    """How many pictures the person with most has, at most: those without a name may all be of that person. None where nobody is named."""
    people = Counter(example.person for example in folder)
    unnamed = people.pop("", 0)
    return max(people.values()) + unnamed if people else None


def _finite(mu: float) -> float | None:
    return None if math.isinf(mu) else mu


def _worst(draws: list[list[float | None]], mu: float | None) -> tuple[float | None, int]:
    """Of the group of records that tells most, all but one of this release's own ``mu``: what they add up to (``None``: one is not
    bounded), and how many they are."""
    others = [list(group) for group in draws]
    for group in others:
        group.remove(mu)
    unbounded = [group for group in others if None in group]
    if unbounded:
        return None, max(map(len, unbounded))
    return max((gaussian.compose(value for value in group if value is not None), len(group)) for group in others)


def _check_steps(settings: SealSettings, codec: Codec) -> None:
    """Refuse, before anything is released, what no server could use."""
    if settings.derived and getattr(registry.get("conditions", settings.condition), "SUPPLIED", False):
        raise UserError(
            f"condition {settings.condition!r} derived",
            expected="one that a server can find in a picture, such as canny",
            fix="name an extractor, or let the conditions leave",
        )
    last = codec.schedule.steps - 1
    if settings.seal_step is not None and settings.seal_step >= last:
        raise UserError(
            f"seal step {settings.seal_step}",
            expected=f"0 ... {last - 1} for this base, or none",
            fix="choose a lower step: a server trains above it, and nothing is above",
        )
    codec.schedule.alpha(settings.condition_step)


class Names(NamedTuple):
    """The keyed names of a record: its picture by pixels, its file, and its condition where that was supplied."""

    picture: str
    file: str
    condition: str


Pending = tuple[Names, np.ndarray, np.ndarray]


@dataclass
class _Source:
    """The pictures of a folder that are still to be sealed; ``refused`` are those that other releases gave away, which a ``trial`` takes
    and counts."""

    folder: Folder
    ledger: ReleaseLedger
    own: set[str]
    refused: set[str]
    summary: Summary
    trial: bool = False

    def refuse_rereleased(self) -> None:
        """Look at every picture before the first one leaves."""
        for example in self.folder:
            try:
                names = self.ledger.file_name(example.path), self.ledger.name(example.image())
            except (UserError, OSError):
                continue  # reported when its turn comes, and checked again
            if not self.own.intersection(names):
                self._check(example, names)

    def pending(self, noise: Noise, on_picture: Tell) -> Iterator[Pending]:
        """``(names, image, condition)`` in a secret order: a record's place tells nothing about its file."""
        examples = list(self.folder)
        seen = set(self.own)
        for position, index in enumerate(noise.permutation(len(examples))):
            example = examples[index]
            try:
                image, condition = self.folder.pixels(example)
                supplied = self.ledger.name(condition) if example.condition_path else ""
                names = Names(self.ledger.name(image), self.ledger.file_name(example.path), supplied)
            except (UserError, OSError) as report:
                self.summary.skipped.append(str(report))
                continue
            finally:
                on_picture(position + 1, len(examples))
            if seen.intersection(names[:2]):
                self.summary.duplicates += not self.own.intersection(names[:2])
                continue
            self._check(example, names[:2])
            seen.update(names[:2])
            self.summary.cropped += example.cropped
            yield names, image, condition

    def _check(self, example: Example, names: tuple[str, str]) -> None:
        if self.refused.isdisjoint(names):
            return
        if self.trial:
            self.summary.earlier += 1
        else:
            raise PrivacyError(
                f"{example.path.name}: this picture was released before",
                expected="every picture to be sealed once",
                fix="take it out of the folder; use its records, or sfumato withdraw them if they never left; or --allow-rerelease",
                privacy="each release is a fresh draw of the noise; together they show more than one",
            )


def _encoded(pending: Iterator[Pending], codec: Codec, *, derived: bool) -> Iterator[tuple[list[Names], torch.Tensor, torch.Tensor]]:
    """Whole shards of ``(names, z_0, c)``; pixels are held for one small batch only. ``c`` is empty where no condition leaves."""
    while True:
        names: list[Names] = []
        z_0: list[torch.Tensor] = []
        c: list[torch.Tensor] = []
        while batch := list(islice(pending, min(_ENCODE, SHARD_RECORDS - len(names)))):
            pixels = [item[1] for item in batch] + ([] if derived else [item[2] for item in batch])
            latents = codec.encode_pixels(np.stack(pixels))
            z_0.append(latents[: len(batch)])
            c.append(latents[len(batch) :])
            names += [item[0] for item in batch]
        if not names:
            return
        yield names, torch.cat(z_0), torch.cat(c)
