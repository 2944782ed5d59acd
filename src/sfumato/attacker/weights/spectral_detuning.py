"""The base back out of several adapters that were merged into it: Spectral DeTuning (Horwitz et al., arXiv 2402.10208).

    W_k = W_0 + dW_k,  rank(dW_k) <= r:     dW_k <- the nearest of rank r to W_k - W_0;     W_0 <- the mean of W_k - dW_k

Alternated, with a rank that rises from 1 to r on the way. Merging is thus no defence where several merges of one base are published: with
``W_0`` every adapter is known, too. A warm-started power iteration stands in for the singular value decomposition, which would cost hours
on Stable Diffusion's layers.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights.base import Guess, Merged, Target
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator

DESCRIPTION = "Spectral DeTuning: several merges of one base give the base back, by alternating low-rank approximation"
TARGETS: tuple[Target, ...] = ("weights",)
NEEDS: tuple[type, ...] = (Merged,)
ITERATIONS: dict[Effort, int] = {"quick": 300, "full": 1000}
RISE = 0.5  # share of the iterations in which the rank rises
DONE = 1e-12  # a misfit, as a share of what differs, below which nothing is left to explain
Curve = list[tuple[float, float]]


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """``weights[layer]`` is ``W_0``, in the shape and type of the merges; the curve is the mean misfit of all layers."""
    merged = scenario[Merged]
    if merged.rank < 1 or not merged.weights:
        raise UserError(f"rank {merged.rank}, {len(merged.weights)} layers", expected="a rank from 1 up, and one layer at least")
    iterations, found, curves = ITERATIONS[effort], {}, []
    for done, (name, weights) in enumerate(sorted(merged.weights.items()), 1):
        if weights.ndim < 3 or len(weights) < 3:
            raise UserError(
                f"{name}: merges of shape {tuple(weights.shape)}", expected="(K, out, in) with K at least 3: two have many bases"
            )
        w_0, curve = detuned(weights.flatten(2).double(), merged.rank, iterations, generator=generator(seed, done))
        found[name] = w_0.view(weights.shape[1:]).to(weights)
        curves.append(curve)
        tell(done, len(merged.weights))
    steps = max(curves, key=len)
    mean = [(at, sum(curve[min(i, len(curve) - 1)][1] for curve in curves) / len(curves)) for i, (at, _) in enumerate(steps)]
    count = len(next(iter(merged.weights.values())))
    return Guess(weights=found, curve=mean, budget={"iterations": iterations, "merges": count, "rank": merged.rank, "misfit": mean[-1][1]})


def detuned(merged: torch.Tensor, rank: int, iterations: int, *, generator: torch.Generator) -> tuple[torch.Tensor, Curve]:
    """``W_0`` of one layer.

    Args:
        merged: float64 ``(K, out, in)``.
        rank: r, the largest of the adapters'.
        iterations: at most.
        generator: draws where the power iteration starts.

    Returns:
        ``(out, in)``, and the misfit: what is not of rank r, as a share of how the merges differ.
    """
    k, out, into = merged.shape
    rank = min(rank, out, into)
    w_0, curve = merged.mean(0), []
    scale = float(torch.linalg.vector_norm(merged - w_0)) or 1.0
    right = torch.randn((k, into, rank), generator=generator, dtype=merged.dtype).to(merged.device)
    for i in range(iterations):
        used = min(rank, 1 + int(i * rank / max(1.0, RISE * iterations)))
        rest = merged - w_0
        left = torch.linalg.qr(rest @ right).Q  # (K, out, r)
        u, s, vh = torch.linalg.svd(left.mT @ rest, full_matrices=False)
        right = vh.mT
        low = (left @ u[..., :used] * s[:, None, :used]) @ vh[:, :used]
        misfit = float(torch.linalg.vector_norm(rest - low)) / scale
        w_0 = (merged - low).mean(0)
        if i % max(1, iterations // 20) == 0 or i + 1 == iterations or misfit < DONE:
            curve.append((i + 1.0, misfit))
        if misfit < DONE:
            break
    return w_0, curve
