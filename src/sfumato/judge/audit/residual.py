"""What the owner can test, who holds the pictures: ``r = (z_n - alpha clip(z_0)) / sigma`` must be white, Gaussian and nothing else.

Every test is exact for Gaussian noise, but for an allowance for rounding and for pictures that were encoded on another machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import beta, chi2, kurtosistest, norm, skewtest

from sfumato.defences import latent_clip
from sfumato.judge.audit.noise import Claim, Finding, View
from sfumato.records.rows import Rows, blocks

ENCODED = 5e-3  # of one value, at most, in the mean square: what another machine's encoder makes of a picture
SHIFT = 0.02  # of a residual along its picture, for the same reason
APART = 12.0  # standard deviations between two pictures that cannot be mistaken for each other: once in 10^9
BLOCK = 2048


@dataclass(frozen=True)
class Owned:
    """One field of the records whose picture is known: latents and what they were made of ``(N, C, h, w)``, unclipped."""

    claim: Claim
    sealed: torch.Tensor
    clean: torch.Tensor


def whose(fields: list[tuple[Claim, Rows, torch.Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """For every record the likeliest picture, int64 ``(N,)``, and whether no other can be meant.

    Args:
        fields: claims, the records' latents, and the pictures' ``(M, C, h, w)``.
    """
    distance: np.ndarray | float = 0.0
    apart: np.ndarray | float = 0.0
    for claim, rows, clean in fields:
        spread = math.hypot(claim.sigma, ENCODED)
        flat = claim.alpha * latent_clip.apply(clean, claim.clip).flatten(1).double().numpy() / spread
        seen = [cdist(block.flatten(1).double().numpy() / spread, flat, "sqeuclidean") for block in blocks(rows)]
        distance = distance + np.concatenate(seen)
        apart = apart + cdist(flat, flat, "sqeuclidean")
    assert isinstance(distance, np.ndarray) and isinstance(apart, np.ndarray)
    index = distance.argmin(axis=1)
    np.fill_diagonal(apart, np.inf)
    return index, np.sqrt(apart.min(axis=1))[index] >= APART


def tests(fields: list[Owned]) -> list[Finding]:
    """Every test of the owner's."""
    found: list[Finding] = []
    residuals = []
    for owned in fields:
        claim = owned.claim
        inside = latent_clip.apply(owned.clean, claim.clip).double()
        r = (owned.sealed.double() - claim.alpha * inside) / claim.sigma
        view = View(tuple(r.shape[1:]), claim, float(owned.sealed.square().mean().sqrt()))
        slack = view.rounding + ENCODED * claim.alpha / claim.sigma
        residuals.append(r)
        found += [_energy(r, claim, slack), _bands(r, view, claim, slack), _shape(r, claim), _along(r, inside, claim)]
        if claim.clip is not None:
            found.append(_clip(owned, claim))
    if residuals:
        found.append(_alike(residuals, " and ".join(owned.claim.field for owned in fields)))
    return found


def _two_sided(energy: np.ndarray, k: np.ndarray | float, slack: float) -> np.ndarray:
    size, give = np.sqrt(energy), slack * (np.sqrt(k) + 5)
    low, high = chi2.cdf((size + give) ** 2, k), chi2.sf(np.clip(size - give, 0, None) ** 2, k)
    found: np.ndarray = np.minimum(1.0, 2 * np.minimum(low, high))
    return found


def _found(name: str, claim: Claim, asks: str, p: np.ndarray, values: np.ndarray, expected: np.ndarray | float, what: str) -> Finding:
    at = int(p.argmin())
    return Finding(
        name=name, field=claim.field, asks=asks, p=min(1.0, float(p.flat[at]) * p.size), statistic=float(values.flat[at]),
        expected=float(np.broadcast_to(expected, p.shape).flat[at]), looked_at=p.size, where=what.format(at),
    )  # fmt: skip


def _energy(r: torch.Tensor, claim: Claim, slack: float) -> Finding:
    each = r.square().flatten(1).sum(1).numpy()
    d = float(r[0].numel())
    energy, k = np.append(each, each.sum()), np.append(np.full(len(each), d), d * len(each))
    return _found(
        "residual: energy", claim, "what is left without the picture has the noise's energy, in each record and in all",
        _two_sided(energy, k, slack), energy, k, f"place {{}} of {len(each)} records and their sum",
    )  # fmt: skip


def _bands(r: torch.Tensor, view: View, claim: Claim, slack: float) -> Finding:
    rings = view.look(r)[0]["rings"].sum(0)
    k = np.broadcast_to(view.sizes * len(r), rings.shape)
    p = _two_sided(rings, k, slack)
    return _found("residual: whiteness", claim, "it has the same energy in every band of every channel", p, rings, k, "band {}")


def _shape(r: torch.Tensor, claim: Claim) -> Finding:
    x = r.flatten().numpy()
    z = np.array([skewtest(x).statistic, kurtosistest(x).statistic])  # transformed, so that they are normal at any size
    return _found("residual: shape", claim, "it is Gaussian: skewness, kurtosis", 2 * norm.sf(np.abs(z)), z, 0.0, "moment {}")


def _along(r: torch.Tensor, inside: torch.Tensor, claim: Claim) -> Finding:
    unit = inside.flatten(1) / inside.flatten(1).norm(dim=1, keepdim=True).clamp(min=1e-12)
    each = (r.flatten(1) * unit).sum(1).numpy()
    n = len(each)
    z, give = np.append(each, each.sum() / math.sqrt(n)), np.append(np.full(n, SHIFT), SHIFT * math.sqrt(n))
    p = 2 * norm.sf(np.clip(np.abs(z) - give, 0, None))
    return _found("residual: independence", claim, "nothing of the picture is left in it", p, z, 0.0, f"place {{}} of {n} records and all")


def _clip(owned: Owned, claim: Claim) -> Finding:
    """The norm of the latent that a record implies, along its own picture."""
    assert claim.clip is not None
    unit = owned.clean.double().flatten(1)
    norms = unit.norm(dim=1, keepdim=True).clamp(min=1e-12)
    implied = (owned.sealed.double().flatten(1) * unit / norms).sum(1).numpy() / claim.alpha
    most = np.minimum(norms[:, 0].numpy(), claim.clip)
    p = norm.sf((implied - most) * claim.alpha / claim.sigma - SHIFT)
    return _found("residual: clip", claim, "no picture went in with a norm above the clip", p, implied, most, "record {}")


def _alike(residuals: list[torch.Tensor], field: str) -> Finding:
    rows = torch.cat([r.flatten(1) for r in residuals])
    rows = (rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)).float()
    best, where = 0.0, (0, 0)
    for i in range(0, len(rows), BLOCK):
        for j in range(i, len(rows), BLOCK):
            alike = (rows[i : i + BLOCK] @ rows[j : j + BLOCK].T).abs()
            if i == j:
                alike.fill_diagonal_(0)
            if float(alike.max()) > best:
                best = float(alike.max())
                where = (i + int(alike.argmax()) // alike.shape[1], j + int(alike.argmax()) % alike.shape[1])
    pairs = max(1, len(rows) * (len(rows) - 1) // 2)
    p = float(beta.sf(max(0.0, best - 1e-5) ** 2, 0.5, (rows.shape[1] - 1) / 2))  # of a correlation squared
    return Finding(
        name="residual: noise twice", field=field, asks="no two records share their noise", p=min(1.0, p * pairs), statistic=best,
        expected=0.0, looked_at=pairs, where=f"residuals {where[0]} and {where[1]}",
    )  # fmt: skip
