"""What an adapter's weights say by themselves: how many directions they use, which layers changed most, and how near another file is.

Of a layer's two factors only small products are made: with ``P = (A A^T)(B^T B)``, r by r, the trace of ``P`` is the sum of the squared
singular values of ``B A``, and that of ``P P`` the sum of their fourth powers. One layer is in memory at a time. No library beside numpy
is loaded: a file of 200 MB takes about a second.

Read here are plain LoRA and LoCon without a core, of any model. Of other kinds (LoHa, LoKr, DoRA, ...) layers are counted as not read.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Literal

import numpy as np

from sfumato.adapters import scrub
from sfumato.adapters.conventions import TEXT, UNET, layer_of, other_kind, split, suffix
from sfumato.core.errors import UserError
from sfumato.core.header import Header, header_bytes, read_header
from sfumato.core.outside import open_bytes

# Cosines from which on a file is another's copy, or has it in it. Adapters of different people by one recipe came to 0.14, and to 0.26
# where A began alike, too (tiny base, two of each): below MERGE a merge of many parts and a stranger's file look the same.
COPY, MERGE = 0.98, 0.4
WORK, WORK_LIKE = 2**31, 2**34  # multiplications at most; of larger files every second layer is read, or every third
LARGEST = 3  # layers that are named
WIDEST = 1024  # rank beyond which a layer is not read
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}

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


@dataclass(frozen=True, slots=True)
class _Pair:
    """Where a layer's factors are, and what multiplies them."""

    a: str
    b: str
    rank: int
    numbers: int
    scale: float


class Factors:
    """The factors of an open file, layer by layer.

    Attributes:
        pairs: what is read, by layer: the canonical name where there is one, else the file's own.
        skipped: layers of which some part is of another kind, or does not fit.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.header, self._file = header, file
        self.pairs: dict[str, _Pair] = {}
        self.skipped: set[str] = set()
        parts: dict[str, dict[str, str]] = defaultdict(dict)
        for name in header.tensors:
            stem, part = suffix(name)
            if other_kind(name):
                other = name.removesuffix(".weight").rpartition(".")[0]
                self.skipped.add(layer_of(other) or other)
            elif part:
                parts[split(name)[0] or stem][part] = name
        said = next((found for key in scrub.SETTINGS if key in header.notes and (found := scrub.settings_in(header.notes[key]))), {})
        for layer, found in parts.items():
            if layer in self.skipped or (pair := self._pair(layer, found, said)) is None:
                self.skipped.add(layer)
            else:
                self.pairs[layer] = pair

    def _pair(self, layer: str, found: dict[str, str], said: dict[str, Any]) -> _Pair | None:
        """A layer's two factors where they fit together."""
        if not {"A", "B"} <= found.keys():
            return None
        (kind_a, a), (kind_b, b) = self.header.tensors[found["A"]], self.header.tensors[found["B"]]
        fits = len(a) >= 2 and len(b) >= 2 and a[0] == b[1] and 0 < a[0] <= WIDEST and math.prod(b[2:]) == 1
        if not fits or not {kind_a, kind_b} <= _TYPES.keys() or not math.prod(a) * math.prod(b):
            return None
        part = layer.partition(".")[0]
        alpha = said.get(f"{part}.lora_alpha", said.get("lora_alpha", a[0]))
        if "alpha" in found and math.prod(self.header.tensors[found["alpha"]][1]) == 1:
            alpha = float(self.tensor(found["alpha"]).ravel()[0])
        scale = float(alpha) / a[0] if isinstance(alpha, int | float) and 0 < alpha < scrub.LARGEST else 1.0
        return _Pair(found["A"], found["B"], a[0], math.prod(a) + math.prod(b), scale)

    def of(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """``A`` ``(r, in)`` and ``B`` ``(out, r)`` of a layer, float32; of a convolution ``in`` counts its window, too."""
        pair = self.pairs[layer]
        a, b = self.tensor(pair.a), self.tensor(pair.b)
        return a.reshape(len(a), -1), b.reshape(len(b), -1)

    def tensor(self, name: str) -> np.ndarray:
        """One tensor, float32."""
        kind, shape = self.header.tensors[name]
        begin, end = self.header.places[name]
        self._file.seek(begin)
        return decoded(self._file.read(end - begin), kind).reshape(shape)

    def bytes_of(self, name: str) -> Iterator[bytes]:
        """One tensor's bytes, in parts."""
        begin, end = self.header.places[name]
        self._file.seek(begin)
        for at in range(begin, end, scrub.CHUNK):
            yield self._file.read(min(scrub.CHUNK, end - at))

    def shown(self, layer: str) -> str:
        """What the file calls a layer, without what all names begin with."""
        shown = suffix(self.pairs[layer].a)[0]
        for start in ("base_model.model.", "unet.", "lora_unet_", "text_encoder.", "text_model."):
            shown = shown.removeprefix(start)
        return shown

    def chosen(self, layers: Iterable[str], work_at_most: int) -> list[str]:
        """All of ``layers``; of very large files every second, or every third, and so on."""
        several = list(layers)
        work = sum(self.pairs[layer].numbers * self.pairs[layer].rank for layer in several)
        return several[:: max(1, math.ceil(work / work_at_most))]


@contextmanager
def factors(path: Path) -> Iterator[Factors]:
    """The factors of a file, which is open inside.

    Raises:
        UserError: no safetensors file.
    """
    with open_bytes(path, what=scrub.WHAT, limit=scrub.LIMIT) as (file, size):
        start = file.read(9)
        start += file.read(max(0, header_bytes(start) - len(start)))
        yield Factors(file, read_header(start, name=str(path), size=size))


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


def decoded(data: bytes, kind: str) -> np.ndarray:
    """Numbers of a type of the format, float32.

    Raises:
        UserError: a type that holds no factors.
    """
    if kind not in _TYPES:
        raise UserError(f"factors of type {kind}", expected=", ".join(_TYPES))
    raw = np.frombuffer(data, _TYPES[kind])
    if kind == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if kind == "F8_E5M2":
        return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if kind == "F8_E4M3":
        return _E4M3[raw]
    with np.errstate(over="ignore"):
        return raw.astype(np.float32)


def _e4m3() -> np.ndarray:
    """What each of the 256 bytes of the type stands for: sign, four bits of exponent, three of mantissa; no infinity."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value[(code & 127) == 127] = np.nan
    return np.where(code & 128, -value, value).astype(np.float32)


_E4M3 = _e4m3()


def component_of(layer: str) -> str:
    """The model that a layer is of, for people."""
    if layer.startswith(UNET):
        return "UNet"
    of_text = layer.startswith((TEXT, "lora_te", "text_encoder")) or ".text_model." in layer
    return "text encoder" if of_text else "denoiser"
