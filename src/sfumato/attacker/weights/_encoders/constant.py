"""No encoder at all: one embedding for everybody, learned. What it recovers was not read off any weights.

A victim's own network may draw its person under any words that are near its trigger; an encoder has to beat this one to have read anything.
"""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.weights._encoders.base import Text
from sfumato.attacker.weights._layout import Factors, Layout


class Encoder(nn.Module):
    """L 2 D numbers."""

    ANY_RANK = True

    def __init__(self, layout: Layout, length: int, width: int, *, text: Text, draws: torch.Generator, size: int = 1) -> None:
        super().__init__()
        self.said = nn.Parameter(torch.zeros(length, 2 * width))

    def fit(self, factors: Factors) -> None:
        """Nothing to set."""

    def forward(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """See the package."""
        return self.said.expand(len(step), -1, -1)
