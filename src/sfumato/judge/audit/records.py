"""Do records bear what their manifest claims? Every test together, at one stated rate of false alarms; and what no test can see."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from sfumato.accounting.accountant import Release
from sfumato.core.randomness import generator
from sfumato.judge.audit import noise, repeats, residual
from sfumato.judge.audit.noise import Claim, Finding
from sfumato.records.record import SHARD_RECORDS, SealSettings
from sfumato.records.rows import Rows, View, blocks

FALSE_ALARMS = 1e-4  # of one release, at most, whatever was sealed
MOST = 20_000  # records that are looked at; of more, some by chance
TRIED = 8  # latents of a field that are held against known seeds
ANYBODY, OWNER, NOBODY = "anybody", "the owner", "nobody"


@dataclass(frozen=True)
class Forgery:
    """A way in which signed records may differ from what they claim, who can see it, and how, or why not."""

    name: str
    seen_by: str
    how: str


FORGERIES = (
    Forgery("bare latents", ANYBODY, "flat places: a picture's latent is smooth somewhere, noise nowhere"),
    Forgery("bare conditions", ANYBODY, "flat places, as above, in c_m alone"),
    Forgery("bare latents as int8", ANYBODY, "flat places, with what rounding may do allowed for"),
    Forgery("half the noise", ANYBODY, "bands and flat places"),
    Forgery("a lower step", ANYBODY, "bands, from some dozen records on; a few records or neighbouring steps: not"),
    Forgery("noise twice", ANYBODY, "the difference of two latents, or their sum, holds too little"),
    Forgery("noise of the latent again in its condition", ANYBODY, "the same, between the fields"),
    Forgery("noise alike in all channels", ANYBODY, "bands of mixed channels"),
    Forgery("a known seed", ANYBODY, "the seed's noise itself, correlated"),
    Forgery("noise that is not Gaussian", ANYBODY, "tails: bounded noise has none"),
    Forgery("no clip at all", ANYBODY, "what all records share exceeds the claimed clip, where alpha ||z_0|| tells in sigma"),
    Forgery("one clip ignored by far", ANYBODY, "the energy of that record"),
    Forgery("one clip ignored by some sigma", OWNER, "the record along its own picture, where alpha (||z_0|| - C) is six sigma or more"),
    Forgery("noise shared in part", OWNER, "residuals of two records correlate"),
    Forgery("more noise than claimed", OWNER, "the residual's energy; it hides more, not less"),
    Forgery("a clip missed by little", NOBODY, "alpha (||z_0|| - C) below about five sigma drowns in the noise"),
    Forgery("a secret seed", NOBODY, "a good generator's noise is noise to whoever lacks the seed"),
    Forgery("releases that are not counted", NOBODY, "earlier records need not be shown; their holder can compare"),
)


def claims(left: list[Release], settings: SealSettings) -> list[Claim]:
    """What a checked ledger claims of each field."""
    return [
        Claim(field=field, alpha=release.alpha, sigma=release.sigma, clip=release.clip, bits=settings.bits)
        for field, release in zip(settings.fields, left, strict=True)
    ]


def anybody(fields: list[tuple[Claim, Rows]], *, seeds: int | None = None) -> dict[str, Any]:
    """Test records without knowing any picture.

    Args:
        fields: a claim and the latents ``(N, C, h, w)`` of each part of the records.
        seeds: how many known seeds are tried, ``repeats.SEEDS`` by default.

    Returns:
        A report: ``refuted``, ``tests`` with statistic, p and threshold, ``untested`` in words.
    """
    noised, untested = _noised(fields)
    if not noised:
        return report([], untested)
    count = len(noised[0][1])
    if count > MOST:
        untested.append(f"{count - MOST} of {count} records: {MOST} were drawn by chance")
        index = torch.randperm(count, generator=generator(count, 31))[:MOST].sort().values
        noised = [(claim, View(rows, index)) for claim, rows in noised]
    seen = [noise.gather(blocks(rows), claim) for claim, rows in noised]
    found = [finding for one in seen for finding in noise.tests(one)]

    def fetch(part: int, number: int) -> torch.Tensor:
        claim, rows = noised[part]
        return rows[number].double() / claim.sigma

    if sum(len(one.top) for one in seen) > 1:
        found += repeats.twice(seen, fetch)
    seeds = repeats.SEEDS if seeds is None else seeds
    if seeds:
        some = sorted({*range(min(TRIED // 2, count)), *np.linspace(0, count - 1, TRIED // 2).astype(int).tolist()})
        latents = torch.cat([rows[some] for _, rows in noised])
        names = [f"{claim.field} of record {number}" for claim, _ in noised for number in some]
        found.append(repeats.seeded(latents, names, stream=(min(count, SHARD_RECORDS), *latents.shape[1:]), seeds=seeds))
    return report(found, untested)


def owner(fields: list[tuple[Claim, Rows, torch.Tensor]], *, index: np.ndarray | None = None) -> dict[str, Any]:
    """Test records with their pictures.

    Args:
        fields: of each part a claim, the records' latents and the pictures' ``(M, C, h, w)``, without clip or noise.
        index: of each record's picture (-1: unknown), as the private ledger has it; without it the likeliest, where it is sure.
    """
    noised, untested = _noised([(claim, rows) for claim, rows, _ in fields])
    kept = [one for one in fields if one[0].sigma > 0]
    if index is None:
        index, sure = residual.whose(fields)
        index = np.where(sure, index, -1)
    known = np.flatnonzero(index >= 0)
    if len(known) < len(index):
        untested.append(f"{len(index) - len(known)} of {len(index)} records: which picture is theirs is not known")
    if not len(known) or not noised:
        return report([], untested)
    found = residual.tests([residual.Owned(claim, rows[known], clean[index[known]]) for claim, rows, clean in kept])
    return report(found, untested)


def report(found: list[Finding], untested: list[str]) -> dict[str, Any]:
    """Tests as JSON; each has an equal share of the false alarms (Bonferroni), so that all together stay within them."""
    threshold = FALSE_ALARMS / max(1, len(found))
    rows = [asdict(finding) | {"threshold": threshold, "refuted": finding.p <= threshold} for finding in found]
    return {
        "tested": bool(rows), "refuted": any(row["refuted"] for row in rows), "false_alarms": FALSE_ALARMS, "tests": rows,
        "untested": untested,
    }  # fmt: skip


def _noised(fields: list[tuple[Claim, Rows]]) -> tuple[list[tuple[Claim, Rows]], list[str]]:
    untested = [f"{claim.field}: claimed to be bare, and there is no noise to test" for claim, _ in fields if claim.sigma == 0]
    return [(claim, rows) for claim, rows in fields if claim.sigma > 0], untested
