"""A scheme with its options as one word: ``sealed``, ``sealed:seal_step=700,clip=none``,
``oneway:t_min=300,activation=identity``."""

from __future__ import annotations

from sfumato.core.errors import UserError

Value = int | float | str | None


def parse(word: str) -> tuple[str, dict[str, Value]]:
    """Name and options.

    Raises:
        UserError: an option without a value, or one given twice.
    """
    name, _, rest = word.partition(":")
    options: dict[str, Value] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier() or not value or key in options:
            raise UserError(f"{word!r}: {part!r}", expected="NAME:option=value,option=value, each option once")
        options[key] = _value(value)
    return name.strip(), options


def name_of(word: str) -> str:
    """The name alone."""
    return parse(word)[0]


def _value(text: str) -> Value:
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
