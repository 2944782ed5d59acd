"""The arms of a comparison: under each name a scheme and its options. What each arm is, one line
says here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfumato.core.errors import UserError
from sfumato.records.defaults import DERIVED_SEAL_STEP, SEAL_STEP
from sfumato.studies import spec

NULL = {"captioned": 0}  # the empty prompt, as records have it
CLEAR = {"seal_step": None, "condition_step": None}
ABOVE = {"above": SEAL_STEP}  # the steps that sealed records can be trained at
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "public": ("public", {}),
    "public-varied": ("public", {"styles": 3, "vary": "all", **NULL}),
    "synthetic": ("synthetic", {}),
    "centralised": ("centralised", {}),
    "unsealed": ("sealed", CLEAR | ABOVE),  # the ceiling of ``sealed``: only the noise differs
    "fedavg": ("fedavg", {}),
    "split": ("split", {}),
    "oneway": ("oneway", {}),
    "sealed": ("sealed", {}),
    "sealed-derived": ("sealed", {"condition": "derived", "seal_step": DERIVED_SEAL_STEP}),
}
ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "public-styles": ("public", {"styles": 3, **NULL}),
    "synthetic-prompted": ("synthetic", {"prompted": 1}),
    "synthetic-varied": ("synthetic", {"vary": "all"}),
    "unsealed-every-t": ("sealed", CLEAR),  # as oneway, but for h: picture and condition come apart
    "unsealed-varied": ("sealed", CLEAR | ABOVE | {"vary": "all"}),
    "sealed-clear-condition": ("sealed", {"condition_step": None}),
    "sealed-clear-picture": ("sealed", {"seal_step": None} | ABOVE),
    "sealed-derived-varied": ("sealed", {"condition": "derived", "seal_step": DERIVED_SEAL_STEP, "vary": "all"}),
    "private_evolution": ("private_evolution", {}),
    "unvoted": ("private_evolution", {"votes": "none"}),
    "sealed-int8": ("sealed", {"bits": 8}),
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
    from sfumato.studies.training import conditioned  # it asks the registry, which the help of a command does without

    given = conditioned.supplied(condition)
    return tuple(name for name in ARMS if not (given and conditioned.extracts(*resolved(name))))
