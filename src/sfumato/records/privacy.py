"""The privacy statement of a manifest: made by the owner, checked by whoever reads it, and said in one line."""

from __future__ import annotations

import math
from typing import Any

from sfumato.accounting.gaussian import epsilon
from sfumato.records.record import SealSettings

UNIT, RELATION = "one picture with its condition", "replace-one"
VACUOUS = 10.0


def statement(settings: SealSettings, mu: float | None, *, releases: int, secure: bool, delta: float = 1e-5) -> dict[str, Any]:
    """The exact guarantee, or the word "none" and why.

    Args:
        settings: how the pictures were sealed.
        mu: of all releases of the picture that was released most, composed; ``None`` where one of them is not bounded.
        releases: how many releases ``mu`` composes.
        secure: the noise cannot be drawn again.
        delta: at which epsilon is stated.
    """
    if not secure:
        return {"guarantee": "none", "why": "the noise can be repeated by whoever knows the seed", "releases": releases}
    if mu is None:
        parts = {"picture": (settings.seal_step, settings.clip), "condition": (settings.condition_step, settings.condition_clip)}
        gaps = [f"the {part} is not noised" for part, (step, _) in parts.items() if step is None]
        gaps += [f"the {part} has no clip" for part, (step, clip) in parts.items() if step is not None and clip is None]
        why = "; ".join(gaps) or "an earlier release of a picture had no bound, or noise from a seed"
        return {"guarantee": "none", "why": why, "releases": releases}
    return {
        "guarantee": "gaussian-dp",
        "unit": UNIT,
        "relation": RELATION,
        "clip": settings.clip,
        "condition_clip": settings.condition_clip,
        "releases": releases,
        "mu": mu,
        "delta": delta,
        "epsilon": epsilon(delta, mu),
    }


def check(found: dict[str, Any], settings: SealSettings, *, secure: bool) -> None:
    """Refuse a statement that the settings cannot bear. That its mu is true can only be seen where the base and the ledger are.

    Raises:
        ValueError: not a statement, or not the one that follows from the settings and from its own mu and delta.
    """
    releases = found.get("releases")
    if type(releases) is not int or releases < 1:
        raise ValueError("a privacy statement counts its releases")
    if found.get("guarantee") == "none":
        if set(found) != {"guarantee", "why", "releases"} or type(found["why"]) is not str:
            raise ValueError("a guarantee of none says why and how many releases, and nothing else")
        return
    if not secure or None in (settings.seal_step, settings.condition_step, settings.clip, settings.condition_clip):
        raise ValueError("a guarantee without secure noise, noised pictures and conditions, and a clip of each")
    mu, delta, stated = (_number(found, name) for name in ("mu", "delta", "epsilon"))
    if mu <= 0:
        raise ValueError(f"mu {mu}; noise leaves something of a picture, so it lies above 0")
    follows = statement(settings, mu, releases=releases, secure=secure, delta=delta)
    if not math.isclose(follows["epsilon"], stated, rel_tol=1e-6):
        raise ValueError("an epsilon that does not follow from mu and delta")
    if found != {**follows, "epsilon": stated}:
        raise ValueError("a unit, relation or clip that is not that of the settings, or words beside the statement")


def _number(found: dict[str, Any], name: str) -> float:
    value: Any = found.get(name)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} is no finite number")
    return float(value)


def describe(found: dict[str, Any]) -> str:
    """A statement in one line: never an epsilon without its unit, relation, clip and releases."""
    if found["guarantee"] == "none":
        return f"none ({ascii(found['why'])[1:-1]}). What a server sees: sfumato inspect --picture"
    return (
        f"epsilon {found['epsilon']:.4g} at delta {found['delta']:g} (unit: {found['unit']}; relation: {found['relation']}; "
        f"clip {found['clip']:g}, condition clip {found['condition_clip']:g}; releases: {found['releases']} as of this one)"
        + ("; vacuous as a guarantee" if found["epsilon"] > VACUOUS else "")
    )
