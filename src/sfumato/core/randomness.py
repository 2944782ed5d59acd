"""Noise that protects, which takes no seed, and noise that only computes, which takes a generator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch


class Noise(Protocol):
    """A source of the noise that hides a picture."""

    secure: bool

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Independent standard normal draws, float64, of ``shape``."""
        ...

    def permutation(self, n: int) -> list[int]:
        """A uniformly random order of ``range(n)``."""
        ...


class _BoxMuller:
    """Box-Muller on 53-bit uniforms: float64 tails out to 8.5 standard deviations."""

    def _bytes(self, n: int) -> bytes:
        raise AssertionError("a source defines its bytes")

    def _uniform(self, n: int) -> np.ndarray:
        """``n`` draws in the open-closed interval (0, 1], float64."""
        words = np.frombuffer(self._bytes(8 * n), dtype="<u8") >> np.uint64(11)
        return (words.astype(np.float64) + 1.0) * 2.0**-53

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        n = int(np.prod(shape))
        half = (n + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self._uniform(half)))
        angle = 2.0 * np.pi * self._uniform(half)
        draws = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
        return torch.from_numpy(draws).reshape(shape)

    def permutation(self, n: int) -> list[int]:
        # Sorting by 64-bit keys: ties have probability below n^2 / 2^65.
        keys = np.frombuffer(self._bytes(8 * n), dtype="<u8")
        return [int(i) for i in np.argsort(keys, kind="stable")]


class SecureNoise(_BoxMuller):
    """Noise from the operating system's cryptographic source. It cannot be drawn a second time."""

    secure = True

    def _bytes(self, n: int) -> bytes:
        return os.urandom(n)


class InsecureNoise(_BoxMuller):
    """Repeatable noise for tests only; whoever knows the seed can take the noise off again."""

    secure = False

    def __init__(self, insecure_seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(insecure_seed))

    def _bytes(self, n: int) -> bytes:
        return self._generator.bytes(n)


def generator(*keys: int, device: str = "cpu") -> torch.Generator:
    """A generator that depends on all ``keys``, so that step k of a run needs no state of step k - 1."""
    words = np.random.SeedSequence((*keys, len(keys))).generate_state(2, np.uint32)
    return torch.Generator(device=device).manual_seed(int(words[0]) << 32 | int(words[1]))


def evenly(count: int, size: int, draws: torch.Generator) -> torch.Tensor:
    """``size`` of ``range(count)`` in a drawn order: none is drawn again before every other was."""
    return torch.cat([torch.randperm(count, generator=draws) for _ in range(-(-size // count))])[:size]


def spread(count: int, most: int | None) -> frozenset[int]:
    """At most ``most`` of ``range(count)``, as far from one another as can be, the first among them; nothing is drawn."""
    size = count if most is None else min(count, most)
    return frozenset(i * count // size for i in range(size))


@contextlib.contextmanager
def seeded(*keys: int) -> Iterator[None]:
    """Inside, whatever a library draws globally (a layer's first weights) depends on ``keys``; afterwards the global state is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(*keys).initial_seed())
        yield
