"""Seal settings by level of privacy, as they were measured on one base. For any other base there are none until it is calibrated.

Shipped ones lie in ``assets/presets.json``, those of ``sfumato calibrate`` in ``$SFUMATO_HOME/presets``; both by the base's fingerprint.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from sfumato.core.artifact import read_json, write_json
from sfumato.core.errors import UserError
from sfumato.records.record import SealSettings
from sfumato.records.trust import home

LEVELS = ("low", "medium", "high")
SHIPPED = "assets/presets.json"


def find(level: str, fingerprint: str, latent: tuple[int, ...], *, condition: str) -> SealSettings:
    """The settings of ``level`` for the base with this fingerprint and latent shape; what was calibrated here goes before what ships.

    Raises:
        UserError: an unknown level, a base on which nothing was measured, or another condition than it was measured with.
    """
    if level not in LEVELS:
        raise UserError(f"privacy {level!r}", expected=", ".join(LEVELS))
    found = known(fingerprint, latent)
    row = found.get("levels", {}).get(level)
    if row is not None and found["condition"] != condition:
        raise UserError(
            f"privacy {level!r} for condition {condition!r}", expected=f"{found['condition']}, with which the presets were measured",
            fix="give --seal-step and --condition-step yourself, and run sfumato attack", privacy="another condition shows more or less",
        )  # fmt: skip
    if row is None and found:
        raise UserError(
            f"no preset {level!r} for this base",
            expected=f"{' or '.join(found['levels'])}: no point that was measured hides as much as {level}",
            fix="take one of these, or give --seal-step yourself and run sfumato attack",
            privacy="the best attack recognises more people at every point than this level may give away",
        )  # fmt: skip
    if row is None:
        raise UserError(
            f"no preset {level!r} for this base ({fingerprint[:12]}, latents of {'x'.join(map(str, latent))})",
            expected="a base on which the presets were measured",
            fix="give --seal-step and --condition-step yourself, seal a few pictures, and see what sfumato attack gets from them",
            privacy="steps that hide much on one base hide little on another: larger latents carry more signal",
        )
    return SealSettings(
        condition=condition, seal_step=row["seal_step"], condition_step=row["condition_step"], derived=row["derived"]
    )  # fmt: skip


def known(fingerprint: str, latent: tuple[int, ...]) -> dict[str, Any]:
    """What was measured on a base: ``condition``, ``command``, and by level settings and their figures. Empty where nothing was."""
    own = path_of(fingerprint)
    found: dict[str, Any] = {}
    if own.exists():
        found = read_json(own, what="presets")
    elif (files("sfumato") / SHIPPED).is_file():
        found = json.loads((files("sfumato") / SHIPPED).read_text()).get(fingerprint, {})
    if not isinstance(found, dict) or found.get("latent") != list(latent):
        return {}
    return found


def save(fingerprint: str, latent: list[int], levels: dict[str, Any], *, condition: str, command: str) -> Path:
    """Keep ``levels`` for a base on this machine."""
    path = path_of(fingerprint)
    write_json(path, {"latent": latent, "condition": condition, "levels": levels, "command": command})
    return path


def describe(level: str, fingerprint: str, latent: tuple[int, ...]) -> str:
    """In a sentence, what was measured of a level."""
    row = known(fingerprint, latent)["levels"][level]
    person, kept = row["person"], f"adherence {row['adherence']['mean']:.2f}"
    if person is None:
        return f"measured on this base: {kept}; whether people can be recognised was not tested"
    pooled = person.get("budget", {}).get("records of a person", 1)
    said = f"the best attack ({person['attack']}) recognised {person['score']:.3f} of invented people, at most {person['bound']:.3f}"
    return f"measured on this base: {kept}; {said} (95 %), from {pooled:g} records of each; chance {person['chance']:.3f}. No guarantee."


def path_of(fingerprint: str) -> Path:
    """Where a base's own presets lie."""
    return home() / "presets" / f"{fingerprint}.json"
