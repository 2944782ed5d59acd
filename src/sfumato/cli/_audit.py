"""The audits of ``sfumato inspect`` in words, and that of the mechanism of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.records.manifest import Manifest

if TYPE_CHECKING:
    from sfumato.api.audit_records import AuditOfClaims

MATCHED = {
    "ledger": "by your private ledger",
    "likelihood": "by likelihood, where it is sure: this machine's ledger does not hold these records",
}


def of_mechanism(manifest: Manifest, unchecked: str) -> dict[str, Any]:
    """Run this version's own mechanism on the worst pair: nothing of the records is looked at."""
    from sfumato.judge.audit.mechanism import audit
    from sfumato.records import privacy

    stated = manifest.privacy
    why = unchecked or (stated["why"] if stated["guarantee"] == "none" else "")
    return {"auditable": False, "why": why} if why else audit(privacy.entries(stated), unit=stated["unit"], insecure_seed=0)


def records_lines(found: AuditOfClaims) -> list[str]:
    """For people: what was refuted and by what, what was not tested, and what stays claimed."""
    said = []
    for who, part in (("anybody can see", found.anybody), ("its owner can see", found.owner)):
        if part is None:
            continue
        rows = part.tests
        if part.matched is not None:
            said.append(f"which record is which picture: {MATCHED[part.matched]}")
        bad = [row for row in rows if row.refuted]
        if bad:
            said.append(f"REFUTED by what {who}: {len(bad)} of {len(rows)} tests")
            said += [
                f"  {row.field}, {row.name}: not so that {row.asks} (p {row.p:.1e}, limit {row.threshold:.1e}; "
                f"{row.statistic:.4g}, claimed {row.expected:.4g}{'; ' + row.where if row.where else ''})"
                for row in bad
            ]  # fmt: skip
        elif part.tested:
            said.append(
                f"not refuted by what {who}: {len(rows)} tests, false alarms in at most {part.false_alarms:g} of releases; "
                f"that proves no noise and no guarantee"
            )
        said += [f"not tested: {line}" for line in part.untested]
    told = found.claimed
    source = "secure" if told.secure_noise else "a seed"
    said.append(
        f"claimed, and known to the signer alone: clip {told.clip}, condition clip {told.condition_clip}, "
        f"releases {told.releases}, source of the noise {source}"
    )
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
