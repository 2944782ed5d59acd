"""What an adapter's weights say by themselves: how many directions they use, which layers changed most, and how near another file is.

Of a layer's two factors only small products are made: with ``P = (A A^T)(B^T B)``, r by r, the trace of ``P`` is the sum of the squared
singular values of ``B A``, and that of ``P P`` the sum of their fourth powers. One layer is in memory at a time. No library beside numpy
is loaded: a file of 200 MB takes about a second.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from sfumato.adapters.conventions import TEXT, UNET
from sfumato.adapters.factors import Factors, factors

# Cosines from which on a file is another's copy, or has it in it. Adapters of different people by one recipe came to 0.14, and to 0.26
# where A began alike, too (tiny base, two of each): below MERGE a merge of many parts and a stranger's file look the same.
COPY, MERGE = 0.98, 0.4
WORK, WORK_LIKE = 2**31, 2**34  # multiplications at most; of larger files every second layer is read, or every third
LARGEST = 3  # layers that are named

Likely = Literal["copy", "merge", "unrelated", "not tested"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """What the adapter of one model does, as the squared singular values of its layers' changes tell.

    Attributes:
        name: ``UNet``, ``text encoder`` or ``denoiser``.
        layers: that were read.
        skipped: that were not, for their kind or for the file's size.
        rank: the largest.
        effective_rank: of the middle layer: ``(sum s^2)^2 / sum s^4``, between 1 and the rank.
        size: Frobenius norm of all changes together.
        largest: the layers that changed most, with the share of the whole squared change.
    """

    name: str
    layers: int
    skipped: int
    rank: int
    effective_rank: float
    size: float
    largest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """How near the change of one file is to that of another.

    Attributes:
        likely: ``copy`` (also scaled), ``merge`` (it holds the other's change, or was trained on from it), ``unrelated``.
        cosine: of the two changes, over the layers that both have; None where there is none.
        layers: that both have.
        of: layers of the first file.
        why: where nothing could be compared.
    """

    likely: Likely
    cosine: float | None
    layers: int
    of: int
    why: str = ""


def components(path: Path) -> tuple[Component, ...]:
    """The parts of an adapter, the UNet first; empty where no layer can be read.

    Raises:
        UserError: no safetensors file.
    """
    rows: dict[str, list[_Row]] = defaultdict(list)
    lacking: Counter[str] = Counter()
    with factors(path) as held:
        chosen = held.chosen(held.pairs, WORK)
        for layer in chosen:
            a, b = held.of(layer)
            square, fourth = _powers(a, b, held.pairs[layer].scale)
            if math.isfinite(fourth):
                rows[component_of(layer)].append(_Row(held.shown(layer), len(a), square, square**2 / fourth if fourth else 0.0))
            else:
                lacking[component_of(layer)] += 1
        lacking.update(component_of(layer) for layer in (*held.skipped, *(held.pairs.keys() - set(chosen))))
    return tuple(_component(name, rows[name], lacking[name]) for name in sorted(rows, key=lambda name: (name != "UNet", name)))


def likeness(path: Path, other: Path) -> Likeness:
    """How near ``path`` is to ``other``, which another program may have written.

    Raises:
        UserError: one of them is no safetensors file.
    """
    with factors(path) as one, factors(other) as two:
        both = [layer for layer in one.pairs if layer in two.pairs]
        if not both:
            return _to_the_bit(one, two)
        inner = squares = others = 0.0
        for layer in one.chosen(both, WORK_LIKE):
            (a, b), (c, d) = one.of(layer), two.of(layer)
            if a.shape[1] != c.shape[1] or b.shape[0] != d.shape[0]:
                continue
            scale, scale_two = one.pairs[layer].scale, two.pairs[layer].scale
            with np.errstate(all="ignore"):
                product = float(np.sum((a @ c.T).astype(np.float64) * (b.T @ d))) * scale * scale_two
            first, second = _powers(a, b, scale)[0], _powers(c, d, scale_two)[0]
            if math.isfinite(product + first + second):
                inner, squares, others = inner + product, squares + first, others + second
        of = len(one.pairs)
    if not squares or not others:
        why = "the layers that both have are of other shapes, or change nothing"
        return Likeness(likely="not tested", cosine=None, layers=len(both), of=of, why=why)
    cosine = max(-1.0, min(1.0, inner / math.sqrt(squares * others)))
    likely: Likely = "copy" if abs(cosine) >= COPY else "merge" if abs(cosine) >= MERGE else "unrelated"
    return Likeness(likely=likely, cosine=cosine, layers=len(both), of=of)


@dataclass(frozen=True, slots=True)
class _Row:
    layer: str
    rank: int
    square: float
    effective: float


def _component(name: str, rows: list[_Row], skipped: int) -> Component:
    whole = sum(row.square for row in rows)
    most = sorted(rows, key=lambda row: -row.square)[:LARGEST]
    used = [row.effective for row in rows if row.effective]
    return Component(
        name=name, layers=len(rows), skipped=skipped, rank=max(row.rank for row in rows),
        effective_rank=median(used) if used else 0.0, size=math.sqrt(whole),
        largest=tuple((row.layer, row.square / whole) for row in most) if whole else (),
    )  # fmt: skip


def _powers(a: np.ndarray, b: np.ndarray, scale: float) -> tuple[float, float]:
    """Sums of the second and of the fourth powers of the singular values of ``scale B A``."""
    with np.errstate(all="ignore"):
        product = (a @ a.T).astype(np.float64) @ (b.T @ b).astype(np.float64) * scale**2
        return max(0.0, float(np.trace(product))), max(0.0, float(np.sum(product * product.T)))


def _to_the_bit(one: Factors, two: Factors) -> Likeness:
    """Of kinds that are not read: a copy to the bit, or nothing that can be said."""
    names = list(one.header.tensors)
    same = bool(names) and one.header.tensors == two.header.tensors
    if same and all(x == y for name in names for x, y in zip(one.bytes_of(name), two.bytes_of(name), strict=True)):
        return Likeness(likely="copy", cosine=1.0, layers=len(names), of=len(names))
    return Likeness(likely="not tested", cosine=None, layers=0, of=len(one.pairs), why="no layer of plain LoRA that both have")


def component_of(layer: str) -> str:
    """The model that a layer is of, for people."""
    if layer.startswith(UNET):
        return "UNet"
    of_text = layer.startswith((TEXT, "lora_te", "text_encoder")) or ".text_model." in layer
    return "text encoder" if of_text else "denoiser"
