"""What is audited: an owner's records, or a random part of them; which pictures they are; who is on
these, and what is told apart.

The folder may hold 100,000 pictures. They are read and encoded a block at a time, and only what the
audited records need is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sfumato.attacker import attempt as attempts
from sfumato.attacker.attempt import Effort
from sfumato.attacker.knowledge import Candidates, Copies
from sfumato.attacker.records import base as attacks
from sfumato.core import registry
from sfumato.core.device import autocast, choose_precision
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.defences import latent_clip
from sfumato.diffusion.base import Base
from sfumato.judge.audit import matching
from sfumato.judge.metrics.guesses import Truth
from sfumato.judge.metrics.identity import MINIMUM
from sfumato.owner import whose
from sfumato.owner.folder import Folder, read_folder
from sfumato.owner.picture_file import CROP, Crop
from sfumato.pictures import store
from sfumato.records.reader import Records
from sfumato.studies.records.people import STYLE
from sfumato.studies.records.people import copies as held_copies

AUDITED: dict[Effort, int] = {"glance": 128, "quick": 400, "full": 4000}  # records at most
# An attack that takes fewer records than the first number is given the second: it descends on, or draws for, each of them.
DEAR: dict[Effort, tuple[tuple[int, int], ...]] = {"quick": ((64, 16), (400, 128))}
HELD = 2000  # pictures that are held at once: candidates for linkage, other pictures for a line-up
BLOCK = 64  # pictures that are read and encoded at a time
LEDGER, LIKELIHOOD = "ledger", "likelihood"
NO_PEOPLE = "no persons in the folder (no `person` column): who is on the pictures was not asked, and nothing is said of people"
NO_CAPTIONS = "no captions in the folder: what they say was not asked"
UNTESTED = "whether people can be recognised was not tested"
LATENTS = 2**27  # bytes of latents that are kept from the matching; those of more pictures are made again when needed


@dataclass(frozen=True, eq=False)
class Pictures:
    """A folder's pictures, read when asked for; a picture's number is its place in the folder's
    listing.

    Attributes:
        folder: the listing.
        people: who is on each; a name of its own where nobody says.
        named: whether somebody says, of each.
    """

    folder: Folder
    people: list[str]
    named: list[bool]

    @classmethod
    def of(cls, folder: Path, *, size: int, condition: str, crop: Crop = CROP) -> Pictures:
        """List a folder; no picture is opened yet."""
        listed = read_folder(folder, size=size, condition=condition, crop=crop)
        people = [example.person or f"picture {number}" for number, example in enumerate(listed)]
        return cls(listed, people, [bool(example.person) for example in listed])

    def __len__(self) -> int:
        return len(self.people)

    def blocks(self, wanted: Sequence[int], *, skip: bool = False) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Pictures by number: numbers, uint8 images and conditions ``(B, H, W, 3)``; with ``skip``
        without those that cannot be read."""
        for i in range(0, len(wanted), BLOCK):
            found, drawn = [], []
            for number in wanted[i : i + BLOCK]:
                try:
                    drawn.append(self.folder.pixels(self.folder.examples[number]))
                    found.append(int(number))
                except UserError:
                    if not skip:
                        raise
            if found:
                images, conditions = (np.stack(several) for several in zip(*drawn, strict=True))
                yield found, images, conditions

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images and conditions ``(N, H, W, 3)`` of the pictures with these numbers."""
        parts = list(self.blocks(numbers))
        return np.concatenate([images for _, images, _ in parts]), np.concatenate([conditions for *_, conditions in parts])

    def caption(self, number: int) -> str:
        return self.folder.examples[number].caption


@dataclass(frozen=True)
class Silent:
    """Targets of which nothing can be found out here, and why: the folder tells nothing
    (``unasked``), or what it tells cannot be judged (``untested``), which is no pass."""

    unasked: dict[str, str] = field(default_factory=dict)
    untested: dict[str, str] = field(default_factory=dict)

    def why(self, target: str) -> str:
        """Why ``target`` is among them; empty where it is not."""
        return self.unasked.get(target, self.untested.get(target, ""))


@dataclass(frozen=True, eq=False)
class Audited:
    """Records that are attacked, and the pictures that they are.

    Attributes:
        records: the audited ones, of ``total``.
        own: of each, the number of its picture, ``(N,)``.
        readable: the numbers of all pictures that can be read.
        digest: of these pictures, their conditions and who is on them.
        by: how records found their pictures, ``LEDGER`` or ``LIKELIHOOD``.
    """

    records: Records
    total: int
    pictures: Pictures
    own: np.ndarray
    readable: list[int]
    digest: str
    base: Base
    by: str
    _kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict, repr=False)

    @property
    def labelled(self) -> bool:
        """Whether the folder says of every picture who is on it."""
        return all(self.pictures.named[number] for number in self.readable)

    def latents(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """``z_0`` and ``c`` ``(N, 4, h, w)`` of pictures."""
        missing = [int(number) for number in numbers if int(number) not in self._kept]
        made = dict(self._kept)
        for found, images, conditions in self.pictures.blocks(missing):
            both = zip(self.base.encode_pixels(images), self.base.encode_pixels(conditions), strict=True)
            made |= dict(zip(found, both, strict=True))
        return torch.stack([made[int(i)][0] for i in numbers]), torch.stack([made[int(i)][1] for i in numbers])


def chosen(total: int, most: int, seed: int) -> torch.Tensor:
    """Which records are audited, ``(min(total, most),)``: all in their order, or a random part."""
    return torch.arange(total) if total <= most else torch.randperm(total, generator=generator(seed, 61))[:most]


def taken(row: str, effort: Effort, count: int) -> int:
    """How many of ``count`` audited records an attack is given; 0 where it is left out at this
    effort."""
    name, _, variant = row.partition(":")
    most = attempts.count(attacks.attack(name), effort, variant) or 0
    given = next((given for below, given in DEAR.get(effort, ()) if most < below), most)
    return min(most, given, count)


def audited(records: Records, pictures: Pictures, base: Base, *, most: int, seed: int) -> Audited:
    """Draw the records to audit and find their pictures: by this machine's private ledger where it
    holds the records, else by likelihood.

    Raises:
        UserError: records that are not of these pictures; or, where no ledger holds them, so much
            noise that nobody can tell.
    """
    manifest = records.manifests[0]
    settings = manifest.settings
    rows = chosen(len(records), most, seed)
    part = records.take(rows)
    known = whose.named(manifest.release, [entry.sha256 for entry in records.shards])
    names: list[str] = []
    readable: list[int] = []
    digest = hashlib.sha256()
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    keeping = len(pictures) * 2 * int(np.prod(base.latent_shape)) * 4 <= LATENTS

    def blocks() -> Iterator[matching.Block]:
        nonlocal digest
        digest = hashlib.sha256()
        readable.clear()
        names.clear()
        for numbers, images, conditions in pictures.blocks(
            range(len(pictures)), skip=True
        ):  # what cannot be read was left out of the records, too
            for image, condition in zip(images, conditions, strict=True):
                digest.update(image.tobytes() + condition.tobytes())
            readable.extend(numbers)
            if known is not None:
                names.extend(map(known.name, images))
                if not keeping:  # nobody looks at latents that are neither matched nor kept
                    continue
            z_0 = base.encode_pixels(images)
            c = base.encode_pixels(conditions) if keeping or not settings.derived else torch.empty(0)
            if keeping:
                kept.update({number: (z_0[k], c[k]) for k, number in enumerate(numbers)})
            clean = (latent_clip.apply(z_0, settings.clip),)
            yield clean if settings.derived else (*clean, latent_clip.apply(c, settings.condition_clip))

    part = replace(part, z_n=part.z_n[:], c_m=part.c_m[:])
    if known is None:
        fields = [(part.z_n[:], part.n)] + ([] if settings.derived else [(part.c_m[:], part.m)])
        place = matching.match(fields, blocks, base.schedule)
    else:
        for _ in blocks():
            pass
        place = known.whose(names, [pictures.folder.examples[number].path for number in readable])[rows.numpy()]
        if gone := int((place < 0).sum()):
            raise UserError(
                f"{gone} of {len(place)} records are of pictures that are not in {pictures.folder.path}, by your own ledger",
                expected="the pictures that these records were made of",
                fix="give --truth the very folder that was sealed, unedited",
            )
    if known is None and len(readable) < len(records):
        raise UserError(
            f"{len(records)} records, {len(readable)} pictures",
            expected="the picture of every record",
            fix="give the folder that was sealed",
        )
    own = np.array(readable)[place]
    said = json.dumps([[pictures.caption(i), pictures.people[i], pictures.named[i]] for i in readable])
    digest.update(said.encode())
    return Audited(
        part, len(records), pictures, own, list(readable), digest.hexdigest(), base, LIKELIHOOD if known is None else LEDGER, kept
    )


def truth_of(found: Audited, *, seed: int) -> tuple[Truth, np.ndarray, Silent]:
    """What is true of the audited records; the numbers of the candidates for linkage, in the
    folder's order; and what cannot be asked or tested.

    Of each person every other picture is looked for, and the rest, with the pictures that were not
    sealed, is in the gallery.
    """
    pictures, own = found.pictures, found.own
    images, conditions = pictures.take(own.tolist())
    people = [pictures.people[i] for i in own]
    held = _drawn(found, own.tolist(), HELD, seed)
    truth = Truth(
        images, conditions.max(axis=-1) > 127, [pictures.caption(i) for i in own], people, np.searchsorted(held, own),
        latents=found.latents(own.tolist()),
    )  # fmt: skip
    unasked = {} if any(truth.captions) else {"prompt": NO_CAPTIONS}
    if not any(pictures.named[i] for i in found.readable):
        return truth, held, Silent({"person": NO_PEOPLE} | unasked)
    if not found.labelled:
        return truth, held, Silent(unasked, {"person": f"no person is named for some of the pictures: {UNTESTED}"})
    if found.base.public_name != "tiny":
        return truth, held, Silent(unasked, {"person": f"the judge's identity network knows invented people only: {UNTESTED}"})
    gallery, probes = _line_up(found, people, seed)
    if gallery is None:
        return truth, held, Silent(unasked, {"person": f"no person with two pictures: {UNTESTED}"})
    return replace(truth, gallery=gallery, probes=probes), held, Silent(unasked)


def _line_up(found: Audited, people: list[str], seed: int) -> tuple[tuple[np.ndarray, list[str]] | None, np.ndarray]:
    """Pictures of people to find somebody among, or None; and the rows that are looked for
    there."""
    pictures, own = found.pictures, found.own
    sealed = set(own.tolist())
    seen: dict[str, int] = {}
    probes, others = [], [i for i in found.readable if i not in sealed]
    for row in np.argsort(own):
        seen[people[row]] = seen.get(people[row], 0) + 1
        if seen[people[row]] % 2:
            others.append(int(own[row]))
        else:
            probes.append(int(row))
    known = {pictures.people[i] for i in others}
    probes = [row for row in probes if people[row] in known]
    if not probes:
        return None, np.arange(0)
    wanted = {people[row] for row in probes}
    if len(others) > HELD:  # of whoever is looked for a picture at least, then others at random
        draws = generator(seed, 67)
        mixed = [others[k] for k in torch.randperm(len(others), generator=draws).tolist()]
        first = list({pictures.people[i]: i for i in mixed if pictures.people[i] in wanted}.values())
        taken = set(first)
        others = first + [i for i in mixed if i not in taken][: max(0, HELD - len(first))]
    names = [pictures.people[i] for i in others]
    gallery = pictures.take(others)[0]
    missing = max(0, MINIMUM - len(set(names)))
    if missing:
        strangers = store.distinct(STYLE, "held_out", missing, 2, seed=seed, purpose="strangers")
        gallery, names = np.concatenate([gallery, strangers.images]), names + [f"stranger {key}" for key in strangers.identities]
    gallery, index = np.unique(gallery, axis=0, return_index=True)
    return (gallery, [names[i] for i in index]), np.array(sorted(probes))


def candidates(found: Audited, held: np.ndarray, *, copies: bool) -> Candidates:
    """Pictures that somebody may hold, in the folder's order, and with ``copies`` JPEGs and crops
    of them, made when asked for."""

    def like(what: str) -> Copies:
        images = found.pictures.take(held.tolist())[0]
        with autocast(found.base.vae.device, choose_precision()):
            return held_copies(images, found.base, found.pictures.folder.condition)[what]()

    return Candidates(*found.latents(held.tolist()), {what: partial(like, what) for what in ("jpeg", "cropped")} if copies else {})


def extractable(condition: str) -> str | None:
    """The condition, or None where it came with the folder."""
    return None if getattr(registry.get("conditions", condition), "SUPPLIED", False) else condition


def _drawn(found: Audited, own: list[int], most: int, seed: int) -> np.ndarray:
    """The numbers of ``own`` and of as many others as make ``most``, sorted."""
    known = set(own)
    others = [i for i in found.readable if i not in known]
    if len(known) + len(others) > most:
        order = torch.randperm(len(others), generator=generator(seed, 71))[: max(0, most - len(known))]
        others = [others[k] for k in order.tolist()]
    return np.array(sorted([*known, *others]))
