"""Plain words for what reports speak of: knowledge by type, targets, rows of a table in the order of their danger."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sfumato.judge import gates

TARGETS = {
    "picture": ("the picture itself", "likeness of the best reconstruction (SSIM; 1 is the picture itself)"),
    "condition": ("the outline (the condition)", "how much of it was found, and how little beside it (F1; 1 is all)"),
    "person": ("who is on it", "how often the right person came first in a line-up"),
    "prompt": ("the caption", "share of its words"),
    "candidate": ("which of your pictures it is, for somebody who already has them", "how often the right one was named"),
}
KNOWLEDGE = {
    "Latents": "the sealed pictures",
    "Conditions": "the sealed conditions",
    "Noise": "the very noise",
    "Mixed": "pictures and conditions mixed into one",
    "Activations": "what the owner's layers make of each picture",
    "Contexts": "the encoded captions",
    "Captions": "the captions",
    "Files": "the pictures themselves",
    "Update": "what the owner's training changed in the weights",
    "GradientChannel": "a way to send gradients back to the owner",
    "Public": "public pictures of others",
    "Mechanism": "how the records were sealed",
    "Entrance": "the owner's own layers",
    "Architecture": "how the owner's layers are built",
    "Trained": "the ControlNet that the server trains",
    "Copies": "copies of pictures",
    "Candidates": "pictures among which the sealed ones may be",
    "People": "which records show the same person",
    "Releases": "a second release of the same picture",
    "Base": "the base",
}
_TYPE = re.compile(r"\b(" + "|".join(KNOWLEDGE) + r")\b")


def plainly(said: object) -> str:
    """``said`` with the names of types in plain words: "no Conditions" becomes "no sealed conditions"."""
    text = _TYPE.sub(lambda found: KNOWLEDGE[found[0]], str(said))
    return re.sub(r"\bno (the|a|an) (very )?", "no ", text)


def by_danger(attacks: Mapping[str, dict[str, Any]], target: str) -> list[tuple[str, dict[str, Any]]]:
    """Every attack, or variant of one, that was scored of ``target`` and its cell: what got most beyond a guess first."""
    found = [
        (name, kept["targets"][target])
        for name, one in gates.variants(attacks) for kept in one.get("pools", {}).values() if target in kept["targets"]
    ]  # fmt: skip
    return sorted(found, key=lambda item: (not item[1]["effective"], -_gain(item[1])))


def _gain(cell: Mapping[str, Any]) -> float:
    return float(cell["score"]) - max(float(cell["prior_only"]), float(cell["chance"]))


def without_result(attacks: Mapping[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Attacks and variants without a score: those that failed first, those that have nothing to work on last."""
    order = (*gates.WITHOUT_RESULT, gates.NOT_ASKED, "no channel")
    found = [(name, one) for name, one in gates.variants(attacks) if one["outcome"] != "scored"]
    return sorted(found, key=lambda item: order.index(item[1]["outcome"]))
