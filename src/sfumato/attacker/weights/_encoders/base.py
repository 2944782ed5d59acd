"""What encoders are, and their common parts.

An encoder is a module of this package with a class ``Encoder(layout, length, width, *, text, draws, size)``, a ``torch.nn.Module`` with

    size                             how many times as wide as usual it is inside
    ANY_RANK                         whether it takes factors of every rank
    fit(factors)                     sets its scales by public adapters, before it is trained
    forward(factors, step) -> raw    what each adapter says: ``(K, L, 2 D)``, the mean's offset and the log-variance's; all zeros at first
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn

from sfumato.attacker.weights._layout import Factors
from sfumato.core import registry

PACKAGE = "attacker.weights._encoders"
Text = Callable[[torch.Tensor], torch.Tensor]  # a base's frozen text transformer: tokens (K, M, D) to the same shape


class Encoder(Protocol):
    """What a trained encoder can do; the module says what it is built from."""

    ANY_RANK: bool

    def fit(self, factors: Factors) -> None:
        """Set scales by n public adapters."""

    def __call__(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """K adapters and the embedding ``(K, D)`` of how long each was trained, zeros where that is not to be looked at."""


def names() -> list[str]:
    """Every encoder that can be used, sorted; of plug-ins that cannot, it is warned."""
    return registry.working(PACKAGE)


def stacked(factors: Factors, group: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Layers of equal sides as ``A`` ``(K, G, r, in)`` and ``B`` ``(K, G, out, r)``."""
    a, b = (torch.stack([factors[name][part] for name in group], dim=1) for part in (0, 1))
    return a, b


def bank(count: int, inputs: int, outputs: int, *, draws: torch.Generator, scale: float | None = None) -> nn.Parameter:
    """``count`` linear maps ``(G, in, out)``, of one another's outputs' scale: 1/sqrt(in) by default."""
    values = torch.randn((count, inputs, outputs), generator=draws)
    return nn.Parameter(values * (inputs**-0.5 if scale is None else scale))


def silent(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer that says nothing yet: all zeros."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Tokens(nn.Module):
    """A small transformer: ``(K, M, width)`` of M layers and the step's ``(K, D)`` to ``(K, L, 2 D)``, read off L tokens of its own."""

    def __init__(self, layers: int, length: int, out: int, *, width: int, draws: torch.Generator, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn((length, width), generator=draws))
        self.places = nn.Parameter(0.5 * torch.randn((layers, width), generator=draws))
        self.step = nn.Linear(out, width)
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = silent(width, 2 * out)

    def forward(self, tokens: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """See the class."""
        queries = self.queries.expand(len(tokens), -1, -1)
        whole = torch.cat([queries, self.step(step).unsqueeze(1), tokens + self.places], dim=1)
        return self.head(self.blocks(whole)[:, : queries.shape[1]])
