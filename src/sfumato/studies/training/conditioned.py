"""What a comparison by a condition can hold: which schemes have one, and by what pictures are
judged.

Conditions that come with folders are of their pictures alone. No server can find them in a picture
that it draws, nor in public ones; there ``seal`` refuses, and so does a comparison. Nor can they be
found in what was made under them: that is judged by the edges of the picture that belongs to each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfumato.core import registry
from sfumato.core.errors import UserError

JUDGE = "canny"  # by its edges pictures are compared that were made under conditions of their own


def supplied(condition: str) -> bool:
    """Whether folders bring this condition, in place of an extractor.

    Raises:
        UserError: no such condition is installed.
    """
    return bool(getattr(registry.get("conditions", condition), "SUPPLIED", False))


def judge(condition: str) -> str:
    """The extractor by which pictures that were made under ``condition`` are judged."""
    return JUDGE if supplied(condition) else condition


def extracts(scheme: str, options: Mapping[str, Any]) -> bool:
    """Whether a scheme finds conditions in pictures that nobody supplied one for."""
    if "condition" in options:
        return bool(options["condition"] == "derived")
    return bool(getattr(registry.get("schemes", scheme), "EXTRACTS", False))


def check(condition: str, arms: Mapping[str, tuple[str, Mapping[str, Any]]], *, folders: bool) -> None:
    """Refuse what does not fit, before anything is drawn.

    Args:
        condition: of the comparison.
        arms: scheme and options of each.
        folders: whether somebody's own are compared.

    Raises:
        UserError: no such condition; one that no folder brings; or a scheme that would have to find
            it.
    """
    if not supplied(condition):
        return
    if not folders:
        raise UserError(
            f"--condition {condition} without folders",
            expected="folders that bring a condition for each picture: invented people have none",
            fix="name your folders, or take an extractor such as --condition canny",
        )
    if wrong := [name for name, arm in arms.items() if extracts(*arm)]:
        raise UserError(
            f"--condition {condition} with {', '.join(wrong)}",
            expected="schemes in which every condition comes with its picture: in others there is nothing to find it by",
            fix="leave these schemes out, or take an extractor such as --condition canny",
        )
