"""The arms of a comparison: under each name a scheme and its options. What each arm is, one line
says here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfumato.core.errors import UserError
from sfumato.records.defaults import DERIVED_SEAL_STEP
from sfumato.studies import spec
from sfumato.studies.training import conditioned

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "public": ("public", {}),
    "synthetic": ("synthetic", {}),
    "centralised": ("centralised", {}),
    "fedavg": ("fedavg", {}),
    "split": ("split", {}),
    "oneway": ("oneway", {}),
    "sealed": ("sealed", {}),
    "sealed-derived": ("sealed", {"condition": "derived", "seal_step": DERIVED_SEAL_STEP}),
}
ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sealed-int8": ("sealed", {"bits": 8}),
    "unsealed": ("sealed", {"seal_step": None, "condition_step": None}),  # as oneway, but for h: picture and condition come apart
    "oneway-identity": ("oneway", {"activation": "identity"}),
    "oneway-empty": ("oneway", {"context": "empty"}),
    "fedprox": ("fedavg", {"proximal_mu": 0.01}),
}
KNOWN = ARMS | ABLATIONS


def check_arms(arms: tuple[str, ...]) -> None:
    """Raise UserError for an arm that there is not."""
    check_known(arms, KNOWN, "scheme")


def check_known(names: tuple[str, ...], known: Mapping[str, object], what: str) -> None:
    """Raise UserError for a name, with or without options, that is not among ``known``; ``what``
    says what it should name."""
    unknown = [name for name in names if spec.name_of(name) not in known]
    if unknown:
        raise UserError(f"unknown {what} {unknown[0]!r}", expected=f"some of {', '.join(known)}")


def resolved(arm: str) -> tuple[str, dict[str, Any]]:
    """The scheme of an arm, and its options with the arm's own."""
    known, own = spec.parse(arm)
    return KNOWN[known][0], KNOWN[known][1] | own


def fitting(condition: str) -> tuple[str, ...]:
    """The arms of a comparison that have this condition."""
    given = conditioned.supplied(condition)
    return tuple(name for name in ARMS if not (given and conditioned.extracts(*resolved(name))))
