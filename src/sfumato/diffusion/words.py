"""Which words of a prompt say nothing to a base."""

from __future__ import annotations

import re
from typing import Any

FEW = 10_000  # tokens: a vocabulary of fewer was made of few captions, and what it has to spell was in none of them
_WORD = re.compile(r"\w+", re.UNICODE)


def unknown(prompt: str, tokenizer: Any) -> tuple[str, ...]:
    """Words that ``tokenizer`` has no token for; with a vocabulary of ``FEW`` tokens those that it has to spell out in pieces, too.

    Larger vocabularies are spelled in pieces that mean something.
    """
    words = dict.fromkeys(_WORD.findall(prompt))
    few = len(tokenizer) < FEW
    pieces = {word: tokenizer.tokenize(word) for word in words}
    return tuple(word for word, made in pieces.items() if tokenizer.unk_token in made or (few and len(made) > 1))
