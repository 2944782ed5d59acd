"""An encoder that sees of a layer what it adds, and nothing of how that was written: singular values and vectors of B A.

Pairs of singular vectors enter twice. Bilinearly, ``sum_i s_i (P u_i) * (Q v_i)``, which is a set of numbers ``p^T (B A) q`` that needs no
sign and does not mind when two singular values meet; and each pair by itself, with its canonical sign, through a small network.
"""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.weights._encoders.base import Text, Tokens, bank, stacked
from sfumato.attacker.weights._layout import Factors, Layout, decompose, norms

WIDTH = 128
NARROW = 64
SMALLEST = 1e-3  # of a layer's usual size: what adds less, or is not there, is that


class Encoder(nn.Module):
    """A token for each layer, and a small transformer over them."""

    ANY_RANK = True

    def __init__(self, layout: Layout, length: int, width: int, *, text: Text, draws: torch.Generator, size: int = 1) -> None:
        super().__init__()
        self._groups = layout.groups()
        sizes = [(len(group), *layout.sides[group[0]]) for group in self._groups]
        narrow, wide = size * NARROW, size * WIDTH
        self.left = nn.ParameterList(bank(g, out, narrow, draws=draws) for g, out, _ in sizes)
        self.right = nn.ParameterList(bank(g, into, narrow, draws=draws) for g, _, into in sizes)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(g, 1), requires_grad=False) for g, _, _ in sizes)
        # No biases: where a singular value is 0, so that its vectors are anything, they say nothing.
        self.pair = nn.Sequential(nn.Linear(narrow, wide, bias=False), nn.GELU(), nn.Linear(wide, narrow, bias=False))
        self.mix = nn.Linear(2 * narrow + 1, wide)
        self.tokens = Tokens(len(layout.sides), length, width, width=wide, draws=draws)

    def fit(self, factors: Factors) -> None:
        """Singular values by the layer's root mean square of ``||B A||_F``."""
        for scale, group in zip(self.scales, self._groups, strict=True):
            scale.copy_(norms({name: factors[name] for name in group}).square().mean(0).sqrt().clamp(min=1e-8).unsqueeze(1))

    def forward(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """See the package."""
        parts = []
        for group, left, right, scale in zip(self._groups, self.left, self.right, self.scales, strict=True):
            u, s, v = decompose(*stacked(factors, group))
            norm = torch.linalg.vector_norm(s, dim=-1, keepdim=True)
            s = s / norm.clamp(min=1e-12)  # what it adds, apart from how much: a longer training turns less than it grows
            p = torch.einsum("kgoi,gon->kgin", u * u.shape[-2] ** 0.5, left)
            q = torch.einsum("kgoi,gon->kgin", v * v.shape[-2] ** 0.5, right)
            bilinear = (s.unsqueeze(-1) * p * q).sum(2)
            each = self.pair(s.sqrt().unsqueeze(-1) * (p + q)).sum(2)
            parts.append(self.mix(torch.cat([bilinear, each, (norm / scale).clamp(min=SMALLEST).log()], dim=-1)))
        return self.tokens(torch.cat(parts, dim=1), step)
