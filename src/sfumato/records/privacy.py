"""The privacy statement of a manifest: made by the owner, checked by whoever reads it, and said in one line or as a card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from sfumato.accounting import accountant
from sfumato.accounting.accountant import Release
from sfumato.accounting.gaussian import epsilon
from sfumato.diffusion.schedule import Schedule
from sfumato.records.record import SealSettings

UNIT, ALONE, RELATION = "one picture with its condition", "one picture", "replace-one"
DISTANCES = "assets/distances.json"
SUPPOSED = 10  # pictures of a person, where nobody says how many there are
WITHDRAWN = 10**6  # releases at most that a statement may say were withdrawn
SEEDED = "the noise can be repeated by whoever knows the seed"


def releases(settings: SealSettings, schedule: Schedule, *, secure: bool = True) -> tuple[Release, ...]:
    """What leaves of one picture when it is sealed once: its latent and, unless it is derived, its condition's."""
    return tuple(
        Release(what=what, alpha=float(schedule.alpha(s)), sigma=float(schedule.sigma(s)), clip=clip, void="" if secure else SEEDED)
        for what, s, clip in _leaving(settings)
    )


def _leaving(settings: SealSettings) -> list[tuple[str, int | None, float | None]]:
    picture = ("picture", settings.seal_step, settings.clip)
    return [picture] if settings.derived else [picture, ("condition", settings.condition_step, settings.condition_clip)]


def statement(
    left: Sequence[Release], *, others: int = 0, others_mu: float | None = 0.0, withdrawn: int = 0, delta: float = accountant.DELTA
) -> dict[str, Any]:
    """The exact guarantee, or the word "none" and why; either way with the ledger that it follows from.

    Args:
        left: what leaves of one picture now.
        others: how many more records there are of the picture that was released most, by its pixels, file or supplied condition.
        others_mu: what these add up to, replace-one; ``None`` where one of them is not bounded.
        withdrawn: releases of some of these pictures that their owner withdrew: they are not among the ``others``, and are said.
        delta: at which epsilon is stated.
    """
    common = {
        "releases": 1 + others,
        "ledger": [asdict(release) for release in left],
        "others": {"count": others, "mu": others_mu},
        **({"withdrawn": withdrawn} if withdrawn else {}),
    }
    gaps = [SEEDED] if any(r.void == SEEDED for r in left) else [release.gap for release in left if release.gap]
    if not gaps and others_mu is None:
        gaps = ["an earlier release of a picture had no bound, or noise from a seed"]
    if gaps or others_mu is None:
        return {"guarantee": "none", "why": "; ".join(gaps), **common}
    mu = accountant.total(left, earlier=others_mu)
    return {
        "guarantee": "gaussian-dp",
        "unit": UNIT if len(left) > 1 else ALONE,
        "relation": RELATION,
        "clip": {release.what: release.clip for release in left},
        "mu": mu,
        "delta": delta,
        "epsilon": epsilon(delta, mu),
        **common,
    }


def check(found: dict[str, Any], settings: SealSettings, *, secure: bool) -> None:
    """Refuse a statement that does not follow from its own ledger, or a ledger that the settings do not bear.

    Whether the noise of the ledger is that of the base is for ``check_schedule``; that nothing left before, only the owner can know.

    Raises:
        ValueError: not a statement, or one that does not follow.
    """
    left, others, others_mu = _parse(found)
    wanted = _leaving(settings)
    if len(left) != len(wanted):
        raise ValueError(f"a ledger of {len(left)} entries; expected {len(wanted)}")
    for release, (what, step, clip) in zip(left, wanted, strict=True):
        if (release.what, release.clip, release.sigma == 0, release.times) != (what, clip, step is None, 1):
            raise ValueError(f"a ledger entry for the {what} that is not that of the settings")
        if release.void != ("" if secure else SEEDED):
            raise ValueError("a ledger that does not say whether its noise comes from a seed")
    delta = _number(found, "delta") if found.get("guarantee") != "none" else accountant.DELTA
    withdrawn = found.get("withdrawn", 0)
    if type(withdrawn) is not int or not 0 <= withdrawn <= WITHDRAWN:
        raise ValueError("withdrawn releases are a count")
    follows = statement(left, others=others, others_mu=others_mu, withdrawn=withdrawn, delta=delta)
    if set(found) != set(follows):
        raise ValueError("a guarantee that its ledger does not bear, or words beside the statement")
    for name, value in follows.items():
        close = name in ("mu", "epsilon") and math.isclose(_number(found, name), value, rel_tol=1e-6)
        if not close and (type(found[name]), found[name]) != (type(value), value):
            raise ValueError(f"a statement whose {name} does not follow from its ledger")


def check_schedule(found: dict[str, Any], settings: SealSettings, schedule: Schedule) -> None:
    """Refuse a checked statement whose ledger claims other noise than the base's schedule has at the steps of the settings."""
    for stated, true in zip(_parse(found)[0], releases(settings, schedule), strict=True):
        if not (math.isclose(stated.alpha, true.alpha, rel_tol=1e-6) and math.isclose(stated.sigma, true.sigma, rel_tol=1e-6)):
            raise ValueError(f"its ledger claims noise for the {stated.what} that its step does not have")


def _parse(found: dict[str, Any]) -> tuple[list[Release], int, float | None]:
    entries, others = found.get("ledger"), found.get("others")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not isinstance(others, dict):
        raise ValueError("a privacy statement carries its ledger")
    if set(others) != {"count", "mu"} or type(others["count"]) is not int or others["count"] < 0:
        raise ValueError("a privacy statement counts the other records of a picture")
    try:
        for entry in entries:
            numbers = [_number(entry, name) for name in ("alpha", "sigma") + (("clip",) if entry["clip"] is not None else ())]
            if len(numbers) < 2 or type(entry["what"]) is not str or type(entry["void"]) is not str:
                raise ValueError("a ledger entry is not one")
        left = [Release(**entry) for entry in entries]
    except (TypeError, KeyError) as error:
        raise ValueError(f"a ledger entry is not one ({error})") from error
    mu = others["mu"]
    if mu is not None and (_number(others, "mu") < 0 or (mu > 0) != (others["count"] > 0)):
        raise ValueError("other records and what they add up to do not fit")
    return left, others["count"], mu


def _number(found: dict[str, Any], name: str) -> float:
    value: Any = found.get(name)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} is no finite number")
    return float(value)


def describe(found: dict[str, Any]) -> str:
    """A checked statement in one line: never an epsilon without its unit, relation, clip and releases."""
    said = withdrawn(found)
    if found["guarantee"] == "none":
        return f"none ({ascii(found['why'])[1:-1]}). What a server sees: sfumato inspect --picture" + (f". {said}" if said else "")
    clips = ", ".join(f"{'' if what == 'picture' else what + ' '}clip {clip:g}" for what, clip in found["clip"].items())
    return (
        f"epsilon {found['epsilon']:.4g} at delta {found['delta']:g} (unit: {found['unit']}; relation: {found['relation']}; "
        f"{clips}; releases: {found['releases']} as of this one)"
        + ("; vacuous as a guarantee" if found["epsilon"] > accountant.VACUOUS else "")
        + f"; {accountant.identified(found['mu'], found['unit'])}"
        + (f". {said}" if said else "")
    )


def withdrawn(found: dict[str, Any]) -> str:
    """What a checked statement says of withdrawn releases; empty where there are none."""
    count = found.get("withdrawn", 0)
    if not count:
        return ""
    several = f"{count} earlier release{'s' if count > 1 else ''} of these pictures"
    return f"Not counted: {several}, withdrawn on the owner's word that nothing of {'them' if count > 1 else 'it'} ever left"


def entries(found: dict[str, Any]) -> list[Release]:
    """The ledger of a checked statement."""
    return _parse(found)[0]


def distances(fingerprint: str) -> dict[str, float]:
    """Latent distances of two pictures that occur on a base, as they were measured on public ones; none on a base that was not measured."""
    known: dict[str, dict[str, Any]] = json.loads((files("sfumato") / DISTANCES).read_text())
    row = known.get(fingerprint)
    return {} if row is None else {f"the {name} pair of {row['pictures']:,} public ones": row[name] for name in ("nearest", "median")}


def card(found: dict[str, Any], *, fingerprint: str = "", person: int | None = None) -> list[str]:
    """A checked statement as a privacy card: what left and how often, epsilon by unit, and what that means.

    Args:
        found: the statement.
        fingerprint: of its base; where distances of pictures were measured on it, two pictures that lie so near are a unit, too. Of a
            statement that says "none" nothing is said of them: a small number beside that word would be taken for a guarantee.
        person: how many pictures the person with most has; None where nobody knows, and then the rows of a person are for ``SUPPOSED``.
    """
    left, count, mu = _parse(found)
    said = [f"left: {release.what}, {release.times} time, {_noise(release)}" for release in left]
    if count:
        said.append(f"left too: {count} more records or ballots of the picture (or of its supplied condition) that was released most")
    if gone := withdrawn(found):
        said.append(gone)
    earlier = math.inf if mu is None else mu
    if found["guarantee"] == "none":
        return [*said, f"guarantee: none, for any unit ({found['why']})"]
    pictures = (SUPPOSED if person is None else person,)
    rows = accountant.card(
        left, earlier=earlier, earlier_count=count, pictures=[k for k in pictures if k > 1], distances=distances(fingerprint)
    )
    whose = f"How many pictures of one person there are is not known here: {SUPPOSED} are supposed; of more it is less private."
    return [*said, *accountant.lines(rows), *([whose] if person is None else ()), *accountant.MEANING]


def _noise(release: Release) -> str:
    signal = "signal to noise unlimited" if release.sigma == 0 else f"signal {release.alpha:.3f}, noise {release.sigma:.3f}"
    return f"{signal}, clip {'none' if release.clip is None else format(release.clip, 'g')}"
