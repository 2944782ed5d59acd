"""What looks like a person in a text: by a few rules, without a model. They miss some and accuse some: a finding says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

# Common given names, lower case, that are few things else in English captions.
_GIVEN = frozenset((files("sfumato") / "assets" / "given_names.txt").read_text().split())
_RULES = (
    re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),  # a mail address
    re.compile(r"(?<![\w.])@[a-z][\w.]{2,30}", re.IGNORECASE),  # an account's
    re.compile(r"(?<![\w.])\+\d{1,3}[ \d()-]{7,16}\d"),  # a telephone's number
    re.compile(r"\b(?:mr|mrs|ms|dr|prof|sir|madame|frau|herr)\.? [^\W\d_]{2,20}", re.IGNORECASE),
    re.compile(r"\b(?:named|called|my (?:wife|husband|son|daughter|friend|mother|father|boss|boyfriend|girlfriend)) [^\W\d_]{2,20}\b",
               re.IGNORECASE),
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_FULL = re.compile(r"\b[A-Z][a-zà-ÿ]{2,20} [A-Z][a-zà-ÿ]{2,20}\b")
_NOT = frozenset(("Stable Diffusion", "New York", "Los Angeles", "San Francisco", "Hong Kong", "Photo Realistic", "Art Deco"))


def people(texts: Iterable[str]) -> list[str]:
    """What in these texts looks like somebody's name, address or number, each once."""
    whole = "\n".join(dict.fromkeys(texts))  # every rule runs once over all of them: no rule goes beyond a line
    seen: dict[str, None] = {}
    for rule in _RULES:
        seen |= dict.fromkeys(found.strip() for found in rule.findall(whole))
    seen |= dict.fromkeys(full for full in _FULL.findall(whole) if full not in _NOT)
    plain = whole.replace("_", " ")
    if _GIVEN.isdisjoint(_WORD.findall(plain.lower())):
        return list(seen)
    for line in plain.split("\n"):
        words = _WORD.findall(line)
        for word, after in zip(words, [*words[1:], ""], strict=False):
            if word.lower() in _GIVEN:
                seen[f"{word} {after}".strip() if after and after.lower() not in _SMALL else word] = None
    return list(seen)


_SMALL = frozenset((
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "has", "her", "his", "in", "is",
    "it", "its", "of", "on", "or", "that", "the", "to", "was", "with", "wearing", "smiling",
))  # fmt: skip
