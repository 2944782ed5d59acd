"""A linear encoder: principal components of what public adapters add, and one linear map from there (the space of weights2weights).

Components are those of sketches ``R^T (B A) Q`` with random orthonormal R and Q of at most ``SIDE`` columns for each layer, which keep
distances; for layers no larger than that they are exact.
"""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.weights._encoders.base import Text, silent, stacked
from sfumato.attacker.weights._layout import Factors, Layout

SIDE = 32
COMPONENTS = 64


class Encoder(nn.Module):
    """Whitened coordinates and the step, linearly; the variance is the same for every adapter."""

    ANY_RANK = True

    def __init__(self, layout: Layout, length: int, width: int, *, text: Text, draws: torch.Generator, size: int = 1) -> None:
        super().__init__()
        self._groups, self._shape = layout.groups(), (length, width)
        sizes = [(len(group), *layout.sides[group[0]]) for group in self._groups]
        self.left = nn.ParameterList(_directions(g, out, draws) for g, out, _ in sizes)
        self.right = nn.ParameterList(_directions(g, into, draws) for g, _, into in sizes)
        flat = sum(g * min(out, SIDE) * min(into, SIDE) for g, out, into in sizes)
        self.mean = nn.Parameter(torch.zeros(flat), requires_grad=False)
        self.basis = nn.Parameter(torch.zeros(flat, size * COMPONENTS), requires_grad=False)
        self.map = silent(size * COMPONENTS, length * width)
        self.step = silent(width, length * width, bias=False)
        self.log_var = nn.Parameter(torch.zeros(length, width))

    def sketch(self, factors: Factors) -> torch.Tensor:
        """``(K, F)``."""
        parts = []
        for group, left, right in zip(self._groups, self.left, self.right, strict=True):
            a, b = stacked(factors, group)
            parts.append(((left.mT @ b) @ (a @ right)).flatten(1))
        return torch.cat(parts, dim=1)

    def fit(self, factors: Factors) -> None:
        """Principal components of n adapters by their Gram matrix, scaled so that every coordinate has variance 1."""
        x = self.sketch(factors)
        self.mean.copy_(x.mean(0))
        x = x - self.mean
        values, vectors = torch.linalg.eigh((x @ x.mT).double())
        count = self.basis.shape[1]
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        kept = values > 1e-6 * values[0].clamp(min=1e-30)
        weights = vectors * torch.where(kept, len(x) ** 0.5 / values.clamp(min=1e-30), 0.0)
        self.basis.zero_()
        self.basis[:, : weights.shape[1]] = x.mT @ weights.float()

    def forward(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """See the package."""
        offset = self.map((self.sketch(factors) - self.mean) @ self.basis) + self.step(step)
        offset = offset.view(-1, *self._shape)
        return torch.cat([offset, self.log_var.expand_as(offset)], dim=-1)


def _directions(count: int, side: int, draws: torch.Generator) -> nn.Parameter:
    """``(G, side, min(side, SIDE))`` orthonormal columns, scaled so that norms are kept on average."""
    columns = min(side, SIDE)
    found = torch.linalg.qr(torch.randn((count, side, columns), generator=draws)).Q
    return nn.Parameter(found * (side / columns) ** 0.5, requires_grad=False)
