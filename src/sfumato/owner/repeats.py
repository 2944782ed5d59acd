"""Folders as kohya's trainers want them: ``10_zwx dog`` holds pictures that count ten times, of "zwx", a dog.

A folder that is called by the end of another one's words, ``1_dog`` beside ``10_zwx dog``, holds pictures of the class alone
(regularisation): its words name nobody, and its pictures are no subject's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(r"(\d{1,6})_(.*\S)\s*")


@dataclass(frozen=True, slots=True)
class Repeated:
    """A folder's name, how many times its pictures count, and the words it is called by."""

    name: str
    times: int
    words: str


def folders(names: Iterable[str]) -> tuple[list[Repeated], list[Repeated]]:
    """Those of ``names`` that are such folders': of subjects, and of a class alone."""
    found = [Repeated(name, int(hit[1]), hit[2].strip()) for name in names if (hit := _NAME.fullmatch(name))]
    subjects: list[Repeated] = []
    of_class: list[Repeated] = []
    for one in found:
        alone = any(other.words != one.words and other.words.endswith(f" {one.words}") for other in found)
        (of_class if alone else subjects).append(one)
    return subjects, of_class
