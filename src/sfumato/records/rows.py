"""Latents that are read when they are asked for: the rows of many shards, a choice of rows, rows with more noise.

A ``torch.Tensor`` is ``Rows`` as well, so that whoever has latents in memory passes them as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from sfumato.core.artifact import sha256
from sfumato.core.randomness import generator
from sfumato.diffusion.schedule import Schedule
from sfumato.records.record import restore
from sfumato.records.shard import Shard

BLOCK = 256  # rows in memory at once, where all are gone through


class Rows(Protocol):
    """Latents ``(N, 4, h, w)``; an index of any form that a tensor takes gives float32 values, which are the caller's own."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> torch.Tensor: ...


class Lazy:
    """What all rows that are read on demand share; ``content`` names the values without reading them."""

    content: str

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        self.shape = torch.Size((count, *shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> torch.Tensor:
        at = torch.arange(len(self))[index]  # whatever an index means to a tensor, it means here
        return self.at(at.reshape(-1)).view(*at.shape, *self.shape[1:])

    def at(self, index: torch.Tensor) -> torch.Tensor:
        """The rows at ``index``, int64 ``(B,)``, each in [0, N)."""
        raise NotImplementedError


class Stack(Lazy):
    """One field of many shards, one after another."""

    def __init__(self, shards: Sequence[Shard], field: str) -> None:
        super().__init__(sum(shard.entry.records for shard in shards), shards[0].shape)
        self._shards, self._field = tuple(shards), field
        self._ends = np.cumsum([shard.entry.records for shard in shards])
        self.content = sha256(" ".join([field, *(shard.entry.sha256 for shard in shards)]).encode())

    def at(self, index: torch.Tensor) -> torch.Tensor:
        rows = index.numpy()
        which = np.searchsorted(self._ends, rows, side="right")
        found = torch.empty((len(rows), *self.shape[1:]))
        for number in np.unique(which):
            own = np.flatnonzero(which == number)
            shard = self._shards[number]
            found[torch.from_numpy(own)] = restore(shard.rows(self._field, rows[own] - (self._ends[number] - shard.entry.records)))
        return found


class View(Lazy):
    """The rows of ``rows`` at ``index``, int64 ``(B,)``, in that order."""

    def __init__(self, rows: Rows, index: torch.Tensor) -> None:
        super().__init__(len(index), rows.shape[1:])
        self._rows, self._index = rows, index
        self.content = sha256(f"{content(rows)} at {sha256(index.numpy().tobytes())}".encode())

    def at(self, index: torch.Tensor) -> torch.Tensor:
        return self._rows[self._index[index]]


class Levelled(Lazy):
    """Rows of steps ``m`` ``(N,)``, each noised on to step ``top``. The noise of a row is a function of (seed, row)."""

    def __init__(self, rows: Rows, m: torch.Tensor, top: int, schedule: Schedule, *, seed: int) -> None:
        super().__init__(len(rows), rows.shape[1:])
        self._rows, self._seed = rows, seed
        self._keep = schedule.alpha(top) / schedule.alpha(m)
        self.content = sha256(f"{content(rows)} from {m.tolist()} to {top} by {seed}".encode())

    def at(self, index: torch.Tensor) -> torch.Tensor:
        found = self._rows[index].clone()
        for place, row in enumerate(index.tolist()):
            a = float(self._keep[row])
            if a < 1:
                noise = torch.randn(self.shape[1:], generator=generator(self._seed, 7919, row))
                found[place] = a * found[place] + (1 - a**2) ** 0.5 * noise
        return found


def content(rows: Rows) -> str:
    """What the values are, as a SHA-256: of the values, or of what they are read and made from."""
    if isinstance(rows, Lazy):
        return rows.content
    digest = hashlib.sha256()
    for block in blocks(rows):
        digest.update(block.contiguous().numpy().tobytes())
    return digest.hexdigest()


def blocks(rows: Rows) -> Iterator[torch.Tensor]:
    """All rows in order, ``BLOCK`` at a time."""
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]
