"""The audits of ``sfumato inspect``: of the records themselves, by anybody and by their owner, and of the mechanism of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfumato.records.manifest import Manifest
from sfumato.records.shard import Shard

MATCHED = {
    "ledger": "by your private ledger",
    "likelihood": "by likelihood, where it is sure: this machine's ledger does not hold these records",
}
Fields = list[tuple[Any, Any]]  # a claim and the latents that it is of


def of_records(manifest: Manifest, shards: list[Shard], truth: Path | None, base: str, *, crop: Any = "center") -> dict[str, Any]:
    """Test what the records bear against what is claimed; with ``truth``, the folder of their pictures, the owner's tests as well."""
    from sfumato.judge.audit import records as audit
    from sfumato.records import privacy
    from sfumato.records.rows import Stack

    claims = audit.claims(privacy.entries(manifest.privacy), manifest.settings)
    fields: Fields = [(claim, Stack(shards, claim.field)) for claim in claims] if shards else []
    found: dict[str, Any] = {"claimed": claimed(manifest), "anybody": audit.anybody(fields), "owner": None}
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


def _owner(manifest: Manifest, shards: list[Shard], fields: Fields, truth: Path, base: str, crop: Any) -> dict[str, Any]:
    import numpy as np
    import torch

    from sfumato.core.errors import UserError
    from sfumato.diffusion.base import load_codec
    from sfumato.judge.audit import records as audit
    from sfumato.owner import whose
    from sfumato.owner.folder import read_folder
    from sfumato.records.reader import check_fit

    codec = load_codec(base)
    check_fit(truth, manifest, codec)
    listed = read_folder(truth, size=codec.size, condition=manifest.settings.condition, crop=crop)
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
    found = audit.owner(owned, index=None if known is None else known.whose(names, paths))
    return found | {"matched": "likelihood" if known is None else "ledger"}


def of_mechanism(manifest: Manifest, unchecked: str) -> dict[str, Any]:
    """Run this version's own mechanism on the worst pair: nothing of the records is looked at."""
    from sfumato.judge.audit.mechanism import audit
    from sfumato.records import privacy

    stated = manifest.privacy
    why = unchecked or (stated["why"] if stated["guarantee"] == "none" else "")
    return {"auditable": False, "why": why} if why else audit(privacy.entries(stated), unit=stated["unit"], insecure_seed=0)


def records_lines(found: dict[str, Any]) -> list[str]:
    """For people: what was refuted and by what, what was not tested, and what stays claimed."""
    said = []
    for who, part in (("anybody can see", found["anybody"]), ("its owner can see", found["owner"])):
        if part is None:
            continue
        rows = part["tests"]
        if "matched" in part:
            said.append(f"which record is which picture: {MATCHED[part['matched']]}")
        bad = [row for row in rows if row["refuted"]]
        if bad:
            said.append(f"REFUTED by what {who}: {len(bad)} of {len(rows)} tests")
            said += [
                f"  {row['field']}, {row['name']}: not so that {row['asks']} (p {row['p']:.1e}, limit {row['threshold']:.1e}; "
                f"{row['statistic']:.4g}, claimed {row['expected']:.4g}{'; ' + row['where'] if row['where'] else ''})"
                for row in bad
            ]  # fmt: skip
        elif part["tested"]:
            said.append(
                f"not refuted by what {who}: {len(rows)} tests, false alarms in at most {part['false_alarms']:g} of releases; "
                f"that proves no noise and no guarantee"
            )
        said += [f"not tested: {line}" for line in part["untested"]]
    told = found["claimed"]
    clips = ", ".join(f"{name.replace('_', ' ')} {told[name]}" for name in ("clip", "condition_clip"))
    source = "secure" if told["secure_noise"] else "a seed"
    said.append(f"claimed, and known to the signer alone: {clips}, releases {told['releases']}, source of the noise {source}")
    return said


def mechanism_line(found: dict[str, Any]) -> str:
    """For people: what came of running the mechanism."""
    head = "the mechanism of this version, run here: says nothing of these records"
    if not found["auditable"]:
        return f"{head}; not run: {found['why']}"
    clips = ", ".join(f"{what} {clip:g}" for what, clip in found["clip"].items())
    return (
        f"{head}; {'REFUTED' if found['refuted'] else 'not refuted'}: measured epsilon at least {found['measured_epsilon']:.3g}, "
        f"claimed epsilon {found['claimed_epsilon']:.3g} at delta {found['delta']:g} (unit: {found['unit']}; "
        f"relation: {found['relation']}; clip: {clips}; releases: {found['releases']}; "
        f"{found['draws']} draws, confidence {found['confidence']:g})"
    )
