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
from sfumato.core.home import home
from sfumato.records.record import SealSettings

LEVELS = ("low", "medium", "high")
DEFAULT = "medium"  # of seal, where nothing else is asked for
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
            fix="give --seal-step (and --condition-step, if conditions are to leave) yourself, seal a few pictures, and see what "
            "sfumato attack gets from them",
            privacy="steps that hide much on one base hide little on another: larger latents carry more signal",
        )
    if not isinstance(row, dict) or not {"seal_step", "condition_step", "derived"} <= set(row):
        raise UserError(f"preset {level!r} is damaged", fix=f"remove {path_of(fingerprint)} and run sfumato calibrate again")
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
    if not isinstance(found, dict) or (found and not isinstance(found.get("levels"), dict)):
        raise UserError(f"{own}: the presets are damaged", fix="remove the file, or run sfumato calibrate again")
    return found if found.get("latent") == list(latent) else {}


def save(fingerprint: str, latent: list[int], levels: dict[str, Any], *, condition: str, command: str, measured_on: str) -> Path:
    """Keep ``levels`` for a base on this machine; ``measured_on`` says whose pictures their figures are of."""
    path = path_of(fingerprint)
    found = {"latent": latent, "condition": condition, "levels": levels, "command": command, "measured_on": measured_on}
    write_json(path, found)
    return path


def describe(level: str, fingerprint: str, latent: tuple[int, ...]) -> list[str]:
    """What was measured of a level, on whose pictures, and what that does not say: a sentence or two a line."""
    found = known(fingerprint, latent)
    row, whose = found["levels"][level], found.get("measured_on", "pictures of this base's own style")
    person, kept = row.get("person"), f"adherence {row['adherence']['mean']:.2f}"
    if person is None:
        said = [f"measured on {whose}: {kept}; whether people can be recognised was not tested"]
    else:
        pooled = person.get("budget", {}).get("records of a person", 1)
        said = [
            f"measured on {whose}: {kept}; the best attack we ran ({person['attack']}) recognised {person['score']:.3f} "
            f"[{person['low']:.3f}, {person['high']:.3f}] of them from {pooled:g} records of each; chance {person['chance']:.3f}. "
            "Another attack may get more: this is no guarantee"
        ]
    if not row.get("met"):
        said.append(_not_met(person))
    if "taught" in row:
        said.append(_taught(row["taught"]["records"], row["taught"]["no owner"]))
    said.append(
        "of other pictures (photographs, graphics, another style) these figures say nothing: "
        "run sfumato attack RECORDS --truth PICTURES before you upload"
    )
    return said


def _not_met(person: dict[str, Any] | None) -> str:
    if person is None:
        return "NOT MET: that nobody is recognised has not been shown"
    return (
        f"NOT MET: the interval of the best attack we ran reaches {person['upper']:.3f}, and not less than three times what a guess "
        f"gets ({3 * person['floor']:.3f}): that this level hides people has not been shown"
    )


def _taught(records: dict[str, float], without: dict[str, float]) -> str:
    """What records of a level are worth where private pictures are worth something: in a style that the base never saw."""
    more = "more than" if records["low"] > without["high"] else "no more than"
    numbers = [f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in (records, without)]
    return (
        f"in a style that the base never saw, such records taught {more} pictures that the base draws by itself, which need no owner: "
        f"adherence {numbers[0]} against {numbers[1]}"
    )


def path_of(fingerprint: str) -> Path:
    """Where a base's own presets lie."""
    return home() / "presets" / f"{fingerprint}.json"
