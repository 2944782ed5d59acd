"""Was noise used twice, or drawn from a seed that anybody may try?

Two records with independent noise lie apart: of their difference, and of their sum, any k values have the energy ``2 sigma^2 chi2_k`` at
least, in distribution, whatever the pictures are. The same noise cancels. A seed's own noise, correlated with what it was not used for, is
standard normal; with what it was used for it is many standard deviations. A secret seed, or noise that was turned before it was used again,
nobody sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.stats import binom, chi2, norm

from sfumato.core.randomness import InsecureNoise, generator
from sfumato.judge.audit.noise import FLAT, Finding, Seen

Place = tuple[int, int]  # a field and a record

BLOCK = 2048
ALIKE = 200  # pairs that are looked at place by place
PAIRED = 20_000  # latents that are compared with each other; of more, some by chance
SEEDS = 10_000  # 0 ... are tried, and these:
MORE = (12345, 31337, 123456, 1234567, 12345678, 123456789, 2**31 - 1, 2**32 - 1, 0xDEADBEEF, 0xC0FFEE)
STREAMED = 100  # seeds of which more than the first latent is tried
LATENTS = 8  # of them
VALUES = 2048  # of a latent are enough


def twice(seen: list[Seen], fetch: Callable[[int, int], torch.Tensor]) -> list[Finding]:
    """Every latent of every field against every other one: by the highest frequencies, where pictures have least, and the pairs that are
    most alike by flat places, too.

    Args:
        seen: of each field.
        fetch: the latent ``(C, h, w)`` of a field's number and a record's, in units of sigma.
    """
    rows = torch.cat([one.top for one in seen])
    names = [(part, number) for part, one in enumerate(seen) for number in range(len(one.top))]
    rounding = max(one.rounding for one in seen)
    if len(rows) > PAIRED:
        index = torch.randperm(len(rows), generator=generator(len(rows)))[:PAIRED].sort().values
        rows, names = rows[index], [names[i] for i in index.tolist()]
    k, pairs = rows.shape[1], len(rows) * (len(rows) - 1) // 2
    square = rows.double().square().sum(1).float()
    least, where = math.inf, (0, 0)
    alike: list[tuple[float, int, int]] = []  # how unlike, and which
    for i in range(0, len(rows), BLOCK):
        for j in range(i, len(rows), BLOCK):
            energy = (square[i : i + BLOCK, None] + square[None, j : j + BLOCK]) / 2 - (rows[i : i + BLOCK] @ rows[j : j + BLOCK].T).abs()
            if i == j:
                energy.fill_diagonal_(math.inf)
            unlike = (energy / (square[i : i + BLOCK, None] * square[None, j : j + BLOCK]).sqrt().clamp(min=1e-12)).flatten()
            some = unlike.topk(min(ALIKE, len(unlike)), largest=False)
            at = zip(some.values.tolist(), some.indices.tolist(), strict=True)
            alike = sorted([*alike, *((value, i + index // energy.shape[1], j + index % energy.shape[1]) for value, index in at)])[:ALIKE]
            if float(energy.min()) < least:
                least = float(energy.min())
                a, b = divmod(int(energy.argmin()), energy.shape[1])
                where = (i + a, j + b)
    # The Gram matrix is in float32: what it may be off by is allowed for as rounding is.
    reach = math.sqrt(max(0.0, least) + 1e-5 * float(square.max())) + rounding * (math.sqrt(k) + 5)
    p = float(chi2.cdf(reach**2, k)) * 2 * pairs
    found = Finding(
        name="noise twice", field=" and ".join(one.claim.field for one in seen), asks="no two latents share their noise", p=min(1.0, p),
        statistic=least, expected=float(k), looked_at=2 * pairs, where=" and ".join(_said(seen, names[i]) for i in where),
    )  # fmt: skip
    return [found, _twice_flat(seen, [(names[i], names[j]) for value, i, j in alike if math.isfinite(value) and i != j], pairs, fetch)]


def _twice_flat(seen: list[Seen], alike: list[tuple[Place, Place]], pairs: int, fetch: Callable[[int, int], torch.Tensor]) -> Finding:
    """As among the values of one latent, no more flat places in a difference, or a sum, than noise leaves; corrected for every pair."""
    view = max((one.view for one in seen), key=lambda one: one.rounding)
    name, field = "noise twice, flat places", " and ".join(one.claim.field for one in seen)
    asks = "no two latents share their noise where both pictures are flat"
    best = (1.0, 0.0, 0.0, "")
    looked = max(1, 2 * pairs * len(FLAT))
    for one, other in alike:
        a, b = fetch(*one), fetch(*other)
        for sign in (-1, 1):
            for what, count in view.few(view.flat(((a + sign * b) / math.sqrt(2))[None])).items():
                n, q = view.chances[what]
                p = float(binom.sf(count[0] - 1, n, q))
                best = min(best, (p, float(count[0]), n * q, f"{_said(seen, one)} and {_said(seen, other)}, {what}"))
    p, statistic, expected, where = best
    return Finding(
        name=name, field=field, asks=asks, p=min(1.0, p * looked), statistic=statistic, expected=expected, looked_at=looked, where=where
    )


def _said(seen: list[Seen], place: Place) -> str:
    return f"{seen[place[0]].claim.field} of record {place[1]}"


Draw = Callable[[int, int], np.ndarray]


def _torch(seed: int, count: int) -> np.ndarray:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).numpy()


def _torch_double(seed: int, count: int) -> np.ndarray:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()


def _ours(seed: int, count: int) -> np.ndarray:
    return torch.randn(count, generator=generator(seed)).numpy()


def _numpy(seed: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(count)


def _numpy_single(seed: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(count, dtype=np.float32)


def _numpy_old(seed: int, count: int) -> np.ndarray:
    return np.random.RandomState(seed % 2**32).standard_normal(count)


SOURCES: dict[str, Draw] = {
    "torch.manual_seed({})": _torch, "numpy.random.default_rng({})": _numpy, "numpy.random.seed({})": _numpy_old,
}  # fmt: skip
RARER: dict[str, Draw] = {
    "torch.manual_seed({}), double": _torch_double, "numpy.random.default_rng({}), float32": _numpy_single, "generator({})": _ours,
}  # fmt: skip


def seeded(latents: torch.Tensor, names: list[str], *, stream: tuple[int, ...], seeds: int = SEEDS) -> Finding:
    """Hold some latents, in units that do not matter, against the noise of known seeds.

    Args:
        latents: ``(K, C, h, w)``.
        names: of each.
        stream: the shape of a shard's latents: our own repeatable source depends on how many are drawn at once.
        seeds: how many are tried, from 0.
    """
    flat = latents.flatten(1).double().numpy()
    d = flat.shape[1]
    used = min(d, VALUES)
    unit = flat[:, :used] / np.linalg.norm(flat[:, :used], axis=1, keepdims=True).clip(1e-12)
    best, where, looked = 0.0, "", 0
    for name, drawn in _drawn(d, used, stream, seeds):
        size = np.abs(unit @ drawn.T)  # a standard normal, if this noise was not used for this latent
        looked += size.size
        if float(size.max()) > best:
            best = float(size.max())
            row, place = np.unravel_index(int(size.argmax()), size.shape)
            where = f"{names[row]}, {name}" + (f", latent {place}" if place else "")
    return Finding(
        name="known seeds", field="z_n and c_m", asks="no latent has the noise of a seed that anybody may try",
        p=min(1.0, float(2 * norm.sf(best)) * looked), statistic=best, expected=0.0, looked_at=looked, where=where,
    )  # fmt: skip


def _drawn(d: int, used: int, stream: tuple[int, ...], seeds: int) -> Iterator[tuple[str, np.ndarray]]:
    """``(name, draws (L, used))`` of every source and seed: the first latent of a stream, of some seeds more."""
    for seed in [*range(seeds), *MORE]:
        for name, draw in (SOURCES | (RARER if seed < STREAMED else {})).items():
            if seed < STREAMED:
                found = draw(seed, LATENTS * d).reshape(LATENTS, d)[:, :used]
            else:  # a stream begins alike, however long it is; torch draws by sixteens
                found = draw(seed, -(-used // 16) * 16 if used < d else d)[None, :used]
            yield name.format(seed), found
    for seed in range(min(seeds, STREAMED)):
        yield f"InsecureNoise({seed})", InsecureNoise(seed).normal(stream).flatten(1).numpy()[:, :used]
