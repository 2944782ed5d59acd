"""The two factors of each layer of an adapter file, read one at a time with numpy alone.

Read are plain LoRA and LoCon without a core, of any model. Layers of other kinds (LoHa, LoKr, DoRA, ...) are counted as not read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sfumato.adapters import scrub
from sfumato.adapters.conventions import layer_of, other_kind, split, suffix
from sfumato.core.errors import UserError
from sfumato.core.header import Header, header_bytes, read_header
from sfumato.core.outside import open_bytes

LARGEST = 2**24  # numbers of one factor beyond which a layer is not read: what is in memory stays small, whatever a header says
WIDEST = 1024  # rank beyond which a layer is not read
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}


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
        if not fits or not {kind_a, kind_b} <= _TYPES.keys() or not all(0 < math.prod(shape) <= LARGEST for shape in (a, b)):
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
