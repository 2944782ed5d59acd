"""An encoder that asks each layer what it does to a few fixed random inputs: ``B A P``, however the adapter was written."""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.weights._encoders.base import Text, Tokens, bank, stacked
from sfumato.attacker.weights._layout import Factors, Layout, norms

WIDTH = 128
NARROW = 32
PROBES = 16
SMALLEST = 1e-3  # of a layer's usual size: what adds less, or is not there, is that


class Encoder(nn.Module):
    """A token for each layer, of its answers, and a small transformer over them."""

    ANY_RANK = True

    def __init__(self, layout: Layout, length: int, width: int, *, text: Text, draws: torch.Generator, size: int = 1) -> None:
        super().__init__()
        self._groups = layout.groups()
        sizes = [(len(group), *layout.sides[group[0]]) for group in self._groups]
        self.probes = nn.ParameterList(bank(g, into, PROBES, draws=draws, scale=1.0).requires_grad_(False) for g, _, into in sizes)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(g, 1, 1), requires_grad=False) for g, _, _ in sizes)
        narrow, wide = size * NARROW, size * WIDTH
        self.read = nn.ParameterList(bank(g, out, narrow, draws=draws) for g, out, _ in sizes)
        self.mix = nn.Sequential(nn.Linear(PROBES * narrow + 1, wide), nn.GELU(), nn.Linear(wide, wide))
        self.tokens = Tokens(len(layout.sides), length, width, width=wide, draws=draws)

    def fit(self, factors: Factors) -> None:
        """Answers by the layer's root mean square of ``||B A||_F``, which is that of an answer's norm."""
        for scale, group in zip(self.scales, self._groups, strict=True):
            scale.copy_(norms({name: factors[name] for name in group}).square().mean(0).sqrt().clamp(min=1e-8).view(-1, 1, 1))

    def forward(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """See the package."""
        parts = []
        for group, probes, scale, read in zip(self._groups, self.probes, self.scales, self.read, strict=True):
            a, b = stacked(factors, group)
            answers = b @ (a @ probes)  # (K, G, out, PROBES)
            norm = torch.linalg.vector_norm(answers, dim=(2, 3), keepdim=True) / PROBES**0.5
            turned = answers / norm.clamp(min=1e-12) * answers.shape[2] ** 0.5  # what it does, apart from how much
            words = torch.einsum("kgop,gon->kgpn", turned, read).flatten(2)
            parts.append(self.mix(torch.cat([words, (norm / scale).clamp(min=SMALLEST).log().flatten(2)], dim=-1)))
        return self.tokens(torch.cat(parts, dim=1), step)
