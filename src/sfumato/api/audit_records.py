"""``audit_records``: do records bear what their manifest claims?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.api._common import OnProgress, codec_of, no_progress
from sfumato.core import typed_json
from sfumato.core.errors import RecordError, UserError
from sfumato.core.typed_json import OMITTED
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
        statistic, expected: what was found, and what the claim says.
        looked_at: how many places were looked at; ``p`` allows for all of them.
        where: the record that shows it, where it is one.
        threshold: below which the claim is refuted.
        refuted: whether it is.
    """

    field: str
    name: str
    asks: str
    p: float
    statistic: float
    expected: float
    looked_at: int
    where: str
    threshold: float
    refuted: bool


@dataclass(frozen=True, kw_only=True)
class Checks:
    """All tests that somebody can make.

    Attributes:
        tested: whether there was anything to test.
        refuted: whether any claim was refuted.
        false_alarms: of how many honest releases any test would say so, at most.
        tests: each of them.
        untested: what could not be tested, in words.
        matched: how records found their pictures: by the private ``ledger``, or by ``likelihood``;
            None where no picture is needed.
    """

    tested: bool
    refuted: bool
    false_alarms: float
    tests: tuple[Check, ...]
    untested: tuple[str, ...]
    matched: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """What only the signer knows.

    Attributes:
        clip, condition_clip: of the pictures' and the conditions' latents; None for none.
        releases: of each picture.
        secure_noise: whether the noise came from the system's secure source.
    """

    clip: float | None
    condition_clip: float | None
    releases: int
    secure_noise: bool


@dataclass(frozen=True, kw_only=True)
class AuditOfClaims:
    """What an audit of the claims found, as ``sfumato inspect --audit --json`` has it.

    Attributes:
        claimed: what no test can see.
        anybody: the tests that need no picture.
        owner: those that need the pictures; None without them.
        refuted: whether any claim was refuted.
    """

    claimed: Claimed
    anybody: Checks
    owner: Checks | None
    refuted: bool


@dataclass(frozen=True, kw_only=True)
class AuditedRecords:
    """What an audit of records found. Not refuted is not proven.

    Attributes:
        manifest: what is claimed, its signature good.
        bad: shards that are damaged or not of this release, and why; they were not tested.
        claims: what the tests found, and what no test can see.
    """

    manifest: Manifest
    bad: tuple[str, ...]
    claims: AuditOfClaims

    @property
    def anybody(self) -> tuple[Check, ...]:
        """The tests that need no picture."""
        return self.claims.anybody.tests

    @property
    def owner(self) -> tuple[Check, ...]:
        """The tests that need the pictures; empty without them."""
        return self.claims.owner.tests if self.claims.owner else ()

    @property
    def untested(self) -> tuple[str, ...]:
        """What could not be tested, in words."""
        return (*self.claims.anybody.untested, *(self.claims.owner.untested if self.claims.owner else ()))

    @property
    def matched(self) -> str:
        """How records found their pictures: by the private ``ledger``, or by ``likelihood``; empty without pictures."""
        return (self.claims.owner.matched or "") if self.claims.owner else ""

    @property
    def refuted(self) -> bool:
        """Whether any claim was refuted."""
        return self.claims.refuted


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
    found = of_records(manifest, good, None if truth is None else Path(truth), codec, crop=cut)
    return AuditedRecords(manifest=manifest, bad=tuple(bad), claims=found)


def of_records(
    manifest: Manifest, shards: list[Shard], truth: Path | None, base: str | Path | Codec, *, crop: Crop | None = None
) -> AuditOfClaims:
    """Test what the records bear against what is claimed; with ``truth``, the folder of their pictures, the owner's tests as well."""
    said = tests.claims(privacy.entries(manifest.privacy), manifest.settings)
    fields: Fields = [(claim, Stack(shards, claim.field)) for claim in said] if shards else []
    anybody = _checks(tests.anybody(fields))
    owner = None if truth is None or not shards else _owner(manifest, shards, fields, truth, base, crop)
    refuted = anybody.refuted or (owner is not None and owner.refuted)
    return AuditOfClaims(claimed=_claimed(manifest), anybody=anybody, owner=owner, refuted=refuted)


def _checks(report: dict[str, Any]) -> Checks:
    """A report of ``judge.audit.records``."""
    return typed_json.read(report, Checks, what="the audit's tests")


def _claimed(manifest: Manifest) -> Claimed:
    settings = manifest.settings
    return Claimed(
        clip=settings.clip, condition_clip=settings.condition_clip, releases=manifest.privacy["releases"],
        secure_noise=manifest.secure_noise,
    )  # fmt: skip


def _owner(manifest: Manifest, shards: list[Shard], fields: Fields, truth: Path, base: str | Path | Codec, crop: Crop | None) -> Checks:
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
    return _checks(found | {"matched": "likelihood" if known is None else "ledger"})
