"""What an attack brought back, looked at before it is scored: an attack may raise anything, and
return anything.

Whatever it does becomes a ``Failed`` with the reason, so that the others go on and the report is
written.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.records.base import Guess

Answer = Guess | NoChannel | Failed
WORDS = 300  # characters of an error that are kept: a message may quote a whole tensor


def tried(attack: Callable[[], object], *, count: int) -> Answer:
    """What ``attack`` answers about at most ``count`` records, or why that is no answer. Only an
    interrupt gets through."""
    try:
        answer = attack()
    except (Exception, SystemExit) as error:
        return Failed(cause(error))
    if isinstance(answer, NoChannel | Failed):
        return answer
    if not isinstance(answer, Guess):
        return Failed(f"it returned {type(answer).__name__}, expected a Guess")
    try:
        wrong = trouble(answer, count)
    except Exception as error:  # what it returned does not even let itself be looked at
        wrong = cause(error)
    return Failed(wrong) if wrong else answer


def cause(error: BaseException) -> str:
    """An error in a line: its type, the beginning of its words, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.replace(chr(92), '/').rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:WORDS]}{'…' if len(said) > WORDS else ''}{where}"


def trouble(guess: Guess, count: int) -> str:
    """What is wrong with a guess about at most ``count`` records, or the empty string."""
    lengths = set()
    for name, axes, kinds in (("z_0", 4, torch.Tensor), ("c", 4, torch.Tensor), ("scores", 2, torch.Tensor),
                              ("images", 4, np.ndarray), ("embeddings", 2, np.ndarray), ("prompts", 1, list)):  # fmt: skip
        value: Any = getattr(guess, name)
        if value is None:
            continue
        if not isinstance(value, kinds):
            return f"its {name} is of type {type(value).__name__}, expected {kinds.__name__}"
        if isinstance(value, torch.Tensor | np.ndarray) and value.ndim != axes:
            return f"its {name} is of shape {tuple(value.shape)}, expected {axes} axes"
        if isinstance(value, np.ndarray) and name == "images" and (value.dtype != np.uint8 or value.shape[-1] != 3):
            return f"its images are {value.dtype} {value.shape}, expected uint8 (N, H, W, 3)"
        if isinstance(value, list) and not all(isinstance(text, str) for text in value):
            return "its prompts are not all text"
        if name in guess.NUMBERS and not bool(torch.as_tensor(value).isfinite().all()):
            return f"diverged: its {name} holds NaN or infinity"
        lengths.add(len(value))
    if not lengths:
        return "it says nothing"
    if len(lengths) > 1 or not 0 < max(lengths) <= count:
        return f"it speaks of {', '.join(map(str, sorted(lengths)))} records, expected one number from 1 to {count}"
    return "" if guess.embeddings is None or callable(guess.embed) else "its embeddings come without the map that makes them"


def plain(value: Any) -> Any:
    """The same as JSON can hold and read again: numbers that are not finite, and what is no number
    or text, become words."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)[:WORDS]
