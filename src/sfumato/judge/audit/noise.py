"""Does every direction of a noised latent carry the noise that was claimed? What anybody can test, whatever the pictures are.

Of ``z = alpha z_0 + sigma eps`` nobody but the owner knows ``z_0``. But whatever it is, the energy of any fixed projection of z onto k
dimensions is at least, in distribution, ``sigma^2 chi2_k``: signal only adds (it is noncentral chi-squared, which is stochastically
larger; Anderson, Proc. AMS 6, 1955). So energies that are too *small*, and too many small values, refute the noise; nothing is assumed of
pictures, and a test's false alarms are at most its level. Under a claimed clip, ``||z_0|| <= C``, energies that are too *large* refute
the clip.

Latents are looked at in orthonormal bases: as they are, by channel or mixed over channels, by frequency (DCT), by place (Haar).
Rounding is allowed for by the triangle inequality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binom, chi2, ncx2, norm

ROUNDING = {16: 2.0**-11, 8: 1 / 32}  # of one value, at most, in the mean square; of half precision relative to the values
LATTICE = {16: 2.0**-8, 8: 1 / 16}  # of one value, at most
RINGS = 8  # of frequencies
SMALL = (0.05, 0.1, 0.3)  # in sigma
FLAT = (1e-6, 1e-4, 1e-2, 0.1)  # of chi-squared, of a place's details
LARGE = (2.5, 3.0)  # in sigma
LOWEST = (1, 2, 4)  # sides of the low corners of frequencies in which a picture's energy is
TOP = 512  # values of the highest frequencies that are kept for comparing records


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed of one field: ``alpha x + sigma eps`` with ``||x|| <= clip``, rounded to ``bits``."""

    field: str
    alpha: float
    sigma: float
    clip: float | None
    bits: int = 16


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test: its p-value, corrected for everything it looked at, under the claim; and where the worst of it is.

    ``statistic`` is the energy (or count, or distance) of the worst place, ``expected`` what the claim gives there at least (or at most).
    """

    name: str
    field: str
    asks: str
    p: float
    statistic: float
    expected: float
    looked_at: int
    where: str = ""


@dataclass
class Seen:
    """What is kept of one field's N records, in units of sigma; ``top`` ``(N, K)`` are values of the highest frequencies."""

    claim: Claim
    shape: tuple[int, ...]
    rounding: float
    rings: np.ndarray  # energies (N, bases, C, RINGS)
    sizes: np.ndarray  # dimensions of a ring (RINGS,)
    pooled: np.ndarray  # energies of a frequency, all records (bases, C, h, w)
    low: np.ndarray  # energies of the low corners, and of all (N, len(LOWEST) + 1)
    counts: dict[str, tuple[np.ndarray, int, float]]  # small or flat: how many (N,), of how many, with which chance at most
    large: dict[str, tuple[np.ndarray, int, float]]  # large: with which chance at least
    halves: np.ndarray  # the sum of every other record (2, d), and how many they are
    numbers: tuple[int, int]
    top: torch.Tensor = field(repr=False)
    view: View = field(repr=False)


def gather(blocks: Iterable[torch.Tensor], claim: Claim) -> Seen:
    """Look once at latents ``(B, C, h, w)`` of a field, block by block."""
    parts: list[dict[str, np.ndarray]] = []
    pooled: np.ndarray | float = 0.0
    halves, numbers, seen = None, [0, 0], 0
    tops: list[torch.Tensor] = []
    view: View | None = None
    for block in blocks:
        y = block.double() / claim.sigma
        view = view or View(tuple(y.shape[1:]), claim, float(y.square().mean().sqrt()))
        found, energy, top = view.look(y)
        parts.append(found)
        pooled = pooled + energy
        tops.append(top)
        halves = np.zeros((2, y[0].numel())) if halves is None else halves
        for side in (0, 1):
            own = y[(side + seen) % 2 :: 2]
            halves[side] += own.flatten(1).sum(0).numpy()
            numbers[side] += len(own)
        seen += len(y)
    assert view is not None and halves is not None
    every = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    small = {name: (every[name], *view.chances[name]) for name in view.small}
    large = {name: (every[name], *view.chances[name]) for name in view.large}
    return Seen(
        claim, view.shape, view.rounding, every["rings"], view.sizes, np.asarray(pooled), every["low"], small, large, halves,
        (numbers[0], numbers[1]), torch.cat(tops), view,
    )  # fmt: skip


class View:
    """The bases for one shape of latent, and the chances of what is counted in them."""

    def __init__(self, shape: tuple[int, ...], claim: Claim, spread: float) -> None:
        self.shape = shape
        c, h, w = shape
        self._c, self._h, self._w = _dct(c), _dct(h), _dct(w)
        rings = min(RINGS, h, w)
        u = torch.maximum(torch.arange(h)[:, None] * rings // h, torch.arange(w)[None, :] * rings // w)
        self._ring = torch.nn.functional.one_hot(u.reshape(-1), rings).double()
        self.sizes = self._ring.sum(0).numpy()
        place = torch.maximum(torch.arange(h)[:, None] / h, torch.arange(w)[None, :] / w).expand(shape).reshape(-1)
        self._top = place.argsort(descending=True, stable=True)[: min(TOP, len(place) // 2)]
        self.rounding = ROUNDING[claim.bits] * (1 / claim.sigma if claim.bits == 8 else max(1.0, spread))
        lattice = LATTICE[claim.bits] / claim.sigma
        d, places = math.prod(shape), (h // 2) * (w // 2)
        self.chances: dict[str, tuple[int, float]] = {}
        for t in SMALL:
            for basis, reach in (("values", lattice), ("frequencies", 6 * self.rounding)):
                self.chances[f"{basis} below {t:g}"] = d, float(2 * norm.cdf(t + reach) - 1)
        self._limits = {}
        for q in FLAT if places else ():
            limit, slack = math.sqrt(float(chi2.ppf(q, 3 * c))), self.rounding * (math.sqrt(3 * c) + 5)
            self._limits[f"places below {q:g}"] = limit**2
            self.chances[f"places below {q:g}"] = places, float(chi2.cdf((limit + slack) ** 2, 3 * c))
        self.small = list(self.chances)
        for t in LARGE:
            self.chances[f"values above {t:g}"] = d, float(2 * norm.sf(t + lattice))
        self.large = [name for name in self.chances if name not in self.small]

    def flat(self, y: torch.Tensor) -> torch.Tensor:
        """The energy that is left of every two by two values of all channels without their means, ``(B, places)``."""
        n, (c, h, w) = len(y), self.shape
        cells = y[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
        return (cells.square().sum(dim=(3, 5)) - cells.sum(dim=(3, 5)).square() / 4).sum(1).flatten(1)

    def look(self, y: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray, torch.Tensor]:
        frequencies = self._h @ y @ self._w.T
        mixed = torch.einsum("dc,bchw->bdhw", self._c, frequencies)
        energy = torch.stack([frequencies.square(), mixed.square()], dim=1)  # (B, 2, C, h, w)
        low = [energy[:, 0, :, :side, :side].flatten(1).sum(1) for side in LOWEST] + [energy[:, 0].flatten(1).sum(1)]
        found = {"rings": (energy.flatten(3) @ self._ring).numpy(), "low": torch.stack(low, dim=1).numpy()}
        for t in SMALL:
            found[f"values below {t:g}"] = (y.abs() < t).flatten(1).sum(1).numpy()
            found[f"frequencies below {t:g}"] = (frequencies.abs() < t).flatten(1).sum(1).numpy()
        for t in LARGE:
            found[f"values above {t:g}"] = (y.abs() > t).flatten(1).sum(1).numpy()
        if self._limits:
            found |= self.few(self.flat(y))
        return found, energy.sum(0).numpy(), frequencies.flatten(1)[:, self._top].float()

    def few(self, flat: torch.Tensor) -> dict[str, np.ndarray]:
        """How many places of each latent are flat."""
        return {name: (flat < limit).sum(1).numpy() for name, limit in self._limits.items()}


def _dct(size: int) -> torch.Tensor:
    """The orthonormal DCT-II, float64 ``(size, size)``; row 0 is the mean."""
    k, x = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None, :]
    table = torch.cos(math.pi * (x + 0.5) * k / size) * math.sqrt(2 / size)
    table[0] /= math.sqrt(2)
    return table


def tests(seen: Seen) -> list[Finding]:
    """Every test of one field."""
    found = [bands(seen), together(seen), frequencies(seen), small(seen), tails(seen)]
    return found + ([clip(seen), clip_on_average(seen)] if seen.claim.clip is not None else [])


def lower(energy: np.ndarray, k: np.ndarray | float, rounding: float) -> np.ndarray:
    """The chance, at most, of an energy as small as this in k dimensions of noise and any signal, with what rounding may have taken."""
    found: np.ndarray = chi2.cdf((np.sqrt(energy) + rounding * (np.sqrt(k) + 5)) ** 2, k)
    return found


def _worst(name: str, seen: Seen, asks: str, p: np.ndarray, values: np.ndarray, expected: np.ndarray, where: Callable[..., str]) -> Finding:
    at = np.unravel_index(int(p.argmin()), p.shape)
    return Finding(
        name=name, field=seen.claim.field, asks=asks, p=min(1.0, float(p[at]) * p.size), statistic=float(values[at]),
        expected=float(np.broadcast_to(expected, p.shape)[at]), looked_at=p.size, where=where(*map(int, at)),
    )  # fmt: skip


def bands(seen: Seen) -> Finding:
    """Every record by itself: each band of frequencies of each channel, and of each mix of channels."""
    asks = "each record carries the claimed noise in every band"
    p = lower(seen.rings, seen.sizes, seen.rounding)
    return _worst("bands", seen, asks, p, seen.rings, seen.sizes, lambda i, b, c, r: f"record {i}, {_channel(b, c)}, band {r}")


def together(seen: Seen) -> Finding:
    """All records together: the same bands."""
    sums, k = seen.rings.sum(0), seen.sizes * len(seen.rings)
    asks = "all records together carry the claimed noise in every band"
    return _worst("bands together", seen, asks, lower(sums, k, seen.rounding), sums, k, lambda b, c, r: f"{_channel(b, c)}, band {r}")


def frequencies(seen: Seen) -> Finding:
    """All records together: each frequency of each channel."""
    asks = "all records together carry the claimed noise at every frequency"
    n = len(seen.rings)
    p = lower(seen.pooled, n, seen.rounding)
    return _worst("frequencies", seen, asks, p, seen.pooled, np.array(n), lambda b, c, y, x: f"{_channel(b, c)}, frequency {y}, {x}")


def _channel(basis: int, channel: int) -> str:
    return f"{'mix' if basis else 'channel'} {channel}"


def small(seen: Seen) -> Finding:
    """Flat places and small values: noise leaves few of them, wherever a picture is flat."""
    return _counted(seen, "flat places", "no more flat places or small values than the claimed noise leaves", seen.counts, -1)


def tails(seen: Seen) -> Finding:
    """Large values: Gaussian noise has some; bounded or quantised noise has not."""
    return _counted(seen, "tails", "at least as many large values as Gaussian noise has", seen.large, 1)


def _counted(seen: Seen, name: str, asks: str, counts: dict[str, tuple[np.ndarray, int, float]], sign: int) -> Finding:
    """Counts of each record and of all; each is binomial at worst."""
    chance = {1: binom.cdf, -1: lambda count, n, q: binom.sf(count - 1, n, q)}[sign]
    rows: list[tuple[float, float, float, str]] = []
    looked = 0
    for what, (each, n, q) in counts.items():
        for numbers, of, which in ((each, n, "record"), (each.sum(keepdims=True), n * len(each), "all")):
            p = chance(numbers, of, q)
            at = int(p.argmin())
            rows.append((float(p[at]), float(numbers[at]), of * q, f"{f'record {at}' if which == 'record' else 'all records'}, {what}"))
            looked += len(p)
    p, statistic, expected, where = min(rows)
    return Finding(
        name=name, field=seen.claim.field, asks=asks, p=min(1.0, p * looked), statistic=statistic, expected=expected, looked_at=looked,
        where=where,
    )  # fmt: skip


def clip(seen: Seen) -> Finding:
    """Every record by itself: no more energy than noise and a latent within the claimed clip have, in the low corners and in all."""
    claim = seen.claim
    assert claim.clip is not None
    most = (claim.alpha * claim.clip / claim.sigma) ** 2
    c, h, w = seen.shape
    k = np.array([c * min(side, h) * min(side, w) for side in LOWEST] + [c * h * w], float)
    energy = np.clip(np.sqrt(seen.low) - seen.rounding * (np.sqrt(k) + 5), 0, None) ** 2
    p = np.ones_like(energy)
    above = energy > k + most  # the others are no evidence
    p[above] = np.nan_to_num(ncx2.sf(energy[above], np.broadcast_to(k, energy.shape)[above], most), nan=1.0)
    corners = [f"the lowest {side} by {side} frequencies" for side in LOWEST] + ["all frequencies"]
    asks = "no record has more energy than the claimed clip allows"
    return _worst("clip", seen, asks, p, seen.low, k + most, lambda i, corner: f"record {i}, {corners[corner]}")


def clip_on_average(seen: Seen) -> Finding:
    """The mean of one half of the records as a direction for the other half: a latent within the claimed clip adds so much at most."""
    claim = seen.claim
    assert claim.clip is not None
    found = []
    for side in (0, 1):
        direction, other, count = seen.halves[1 - side], seen.halves[side], seen.numbers[side]
        length = float(np.linalg.norm(direction))
        if not length or not count:
            continue
        along, most = float(other @ direction) / length, count * claim.alpha * claim.clip / claim.sigma
        found.append((float(norm.sf((along - most) / math.sqrt(count * (1 + seen.rounding**2)))), along, most))
    p, along, most = min(found, default=(1.0, 0.0, 0.0))
    return Finding(
        name="clip on average", field=claim.field, asks="what all records share is within the claimed clip", p=min(1.0, 2 * p),
        statistic=along, expected=most, looked_at=2,
    )  # fmt: skip
