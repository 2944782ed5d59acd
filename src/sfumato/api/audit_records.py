"""``audit_records``: do records bear what their manifest claims?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.api._common import OnProgress, codec_of, no_progress
from sfumato.core.errors import RecordError, UserError
from sfumato.diffusion.base import DEFAULT, Codec
from sfumato.judge.audit import records as tests
from sfumato.owner import whose
from sfumato.owner.folder import read_folder
from sfumato.owner.picture_file import Crop, crop_of
from sfumato.records import manifest as manifests
from sfumato.records import privacy
from sfumato.records import shard as shards
from sfumato.records.manifest import Manifest
from sfumato.records.reader import check_fit
from sfumato.records.rows import Stack
from sfumato.records.shard import Shard
from sfumato.records.trust import check_owner

Fields = list[tuple[Any, Any]]  # a claim and the latents that it is of


@dataclass(frozen=True, kw_only=True)
class Check:
    """One test of a claim.

    Attributes:
        field: ``z_n`` or ``c_m``, the part of the records that was tested.
        name, asks: what is tested, and what has to be so.
        p: how often honest records would look like this, or worse.
        threshold: below which the claim is refuted.
        statistic, expected: what was found, and what the claim says.
        where: the record that shows it, where it is one.
    """

    field: str
    name: str
    asks: str
    p: float
    threshold: float
    statistic: float
    expected: float
    where: str

    @property
    def refuted(self) -> bool:
        """Whether the claim is refuted."""
        return self.p <= self.threshold


@dataclass(frozen=True, kw_only=True)
class AuditedRecords:
    """What an audit of records found. Not refuted is not proven.

    Attributes:
        manifest: what is claimed, its signature good.
        bad: shards that are damaged or not of this release, and why; they were not tested.
        anybody: the tests that need no picture.
        owner: those that need the pictures; empty without them.
        untested: what could not be tested, in words.
        matched: how records found their pictures: by the private ``ledger``, or by ``likelihood``;
            empty without pictures.
        figures: all of it, as ``sfumato inspect --audit --json`` has it.
    """

    manifest: Manifest
    bad: tuple[str, ...]
    anybody: tuple[Check, ...]
    owner: tuple[Check, ...]
    untested: tuple[str, ...]
    matched: str
    figures: dict[str, Any]

    @property
    def refuted(self) -> bool:
        """Whether any claim was refuted."""
        return any(check.refuted for check in (*self.anybody, *self.owner))


def audit_records(
    records: str | Path,
    *,
    truth: str | Path | None = None,
    crop: Crop | None = None,
    base: str | Path | Codec = DEFAULT,
    on_progress: OnProgress = no_progress,
) -> AuditedRecords:
    """Try to refute what records claim, by the records themselves. Nothing is written.

    Args:
        records: a folder that ``seal`` wrote.
        truth: the folder that was sealed, for what its owner alone can test.
        crop: of the pictures in ``truth``, as ``seal`` was told. None: as this machine keeps it;
            where it keeps nothing of these records, the middle square.
        base: the base that they were sealed for, by name or as it was loaded.
        on_progress: told how far the shards are verified.

    Raises:
        RecordError: a manifest that cannot be believed, or another base's noise.
        UserError: no records, no picture of ``truth`` that can be read, or another ``crop`` than
            the records were sealed with.

    Examples:
        >>> audited = sfumato.audit_records("records", truth="pictures", base=base)
        >>> audited.refuted, audited.bad, audited.matched, len(audited.anybody) > 3
        (False, (), 'ledger', True)
    """
    folder, cut, codec = Path(records), None if crop is None else crop_of(crop), codec_of(base)
    manifest = manifests.read(folder)
    check_owner(manifest)
    check_fit(folder, manifest, codec)
    bad, good = [], []
    for number, entry in enumerate(manifest.shards, 1):
        try:
            good.append(shards.check(folder, entry, manifest))
        except RecordError as error:
            bad.append(str(error))
        on_progress("verifying", number, len(manifest.shards))
    figures = of_records(manifest, good, None if truth is None else Path(truth), codec, crop=cut)
    anybody, owner = figures["anybody"], figures["owner"] or {"tests": [], "untested": [], "matched": ""}
    return AuditedRecords(
        manifest=manifest,
        bad=tuple(bad),
        anybody=tuple(_check(row) for row in anybody["tests"]),
        owner=tuple(_check(row) for row in owner["tests"]),
        untested=(*anybody["untested"], *owner["untested"]),
        matched=owner["matched"],
        figures=figures,
    )


def _check(row: dict[str, Any]) -> Check:
    return Check(**{name: value for name, value in row.items() if name in Check.__dataclass_fields__})


def of_records(
    manifest: Manifest, shards: list[Shard], truth: Path | None, base: str | Path | Codec, *, crop: Crop | None = None
) -> dict[str, Any]:
    """Test what the records bear against what is claimed; with ``truth``, the folder of their pictures, the owner's tests as well."""
    claims = tests.claims(privacy.entries(manifest.privacy), manifest.settings)
    fields: Fields = [(claim, Stack(shards, claim.field)) for claim in claims] if shards else []
    found: dict[str, Any] = {"claimed": claimed(manifest), "anybody": tests.anybody(fields), "owner": None}
    if truth is not None and shards:
        found["owner"] = _owner(manifest, shards, fields, truth, base, crop)
    found["refuted"] = any(part["refuted"] for part in (found["anybody"], found["owner"]) if part)
    return found


def claimed(manifest: Manifest) -> dict[str, Any]:
    """What only the signer knows."""
    settings = manifest.settings
    return {
        "clip": settings.clip, "condition_clip": settings.condition_clip, "releases": manifest.privacy["releases"],
        "secure_noise": manifest.secure_noise,
    }  # fmt: skip


def _owner(
    manifest: Manifest, shards: list[Shard], fields: Fields, truth: Path, base: str | Path | Codec, crop: Crop | None
) -> dict[str, Any]:
    codec = codec_of(base)
    check_fit(truth, manifest, codec)
    cut = whose.crop_of(manifest.release, crop)
    listed = read_folder(truth, size=codec.size, condition=manifest.settings.condition, crop=cut)
    known = whose.named(manifest.release, [shard.entry.sha256 for shard in shards])
    names, paths, latents = [], [], []
    for example in listed:
        try:
            pair = listed.pixels(example)
        except UserError:
            continue  # left out of the records, too
        if known is not None:
            names.append(known.name(pair[0]))
            paths.append(example.path)
        latents.append(codec.encode_pixels(np.stack(pair[: len(fields)])))
    if not latents:
        raise UserError(f"{truth}: no picture that can be read", expected="the folder that was sealed")
    clean = torch.stack(latents)  # (M, fields, 4, h, w)
    owned = [(claim, rows, clean[:, number]) for number, (claim, rows) in enumerate(fields)]
    found = tests.owner(owned, index=None if known is None else known.whose(names, paths))
    return found | {"matched": "likelihood" if known is None else "ledger"}
