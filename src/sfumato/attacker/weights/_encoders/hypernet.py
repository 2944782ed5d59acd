"""The paper's encoder: a small 1-D convolutional network for each matrix makes a token of it; the base's frozen text transformer reads all.

It takes A and B for what they are, so that two ways of writing the same adapter, ``(A, B)`` and ``(G A, B G^-1)``, are two to it; and its
normalisation erases the scale of every channel.
"""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.weights._encoders.base import Text, bank, silent
from sfumato.attacker.weights._layout import Factors, Layout

LENGTH = 16  # about what three convolutions leave of a matrix's longer side
CHANNELS = 16
SPREAD = 0.5  # of tokens, as of the text encoder's own


class Bank(nn.Module):
    """One network for each of M matrices of the same shape, ``(K, M, r, n)`` to tokens ``(K, M, D)``, as convolutions of M groups."""

    def __init__(self, count: int, rank: int, length: int, width: int, *, channels: int, draws: torch.Generator) -> None:
        super().__init__()
        stride = max(1, round((length / LENGTH) ** (1 / 3)))
        layers: list[nn.Module] = []
        for before in (rank, channels, channels):
            layers.append(nn.Conv1d(count * before, count * channels, 3, stride=stride, padding=1, groups=count))
            layers += [nn.InstanceNorm1d(count * channels), nn.LeakyReLU(0.2)]
            length = (length - 1) // stride + 1
        self.convolutions = nn.Sequential(*layers[:-2], nn.Tanh())
        self.out = bank(count, channels * length, width, draws=draws, scale=SPREAD * (channels * length) ** -0.5)
        self.bias = nn.Parameter(SPREAD * torch.randn((count, width), generator=draws))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        features = self.convolutions(x.flatten(1, 2)).view(len(x), len(self.out), -1)
        return torch.einsum("kmi,mio->kmo", features, self.out) + self.bias


class Encoder(nn.Module):
    """[task, step, matrices] through the text transformer; the first L outputs speak."""

    ANY_RANK = False

    def __init__(self, layout: Layout, length: int, width: int, *, text: Text, draws: torch.Generator, size: int = 1) -> None:
        super().__init__()
        self._text, self._length = (text,), length  # in a tuple: the base's network is none of ours to train or save
        matrices = [(name, part, sides[1 - part]) for name, sides in layout.sides.items() for part in (0, 1)]
        sizes = sorted({n for _, _, n in matrices})
        self._groups = [[(name, part) for name, part, n in matrices if n == side] for side in sizes]
        grouped = [(name, part) for group in self._groups for name, part in group]
        self._order = [grouped.index((name, part)) for name, part, _ in matrices]
        self.banks = nn.ModuleList(
            Bank(len(g), layout.rank, n, width, channels=size * CHANNELS, draws=draws) for g, n in zip(self._groups, sizes, strict=True)
        )
        self.task = nn.Parameter(SPREAD * torch.randn((1, width), generator=draws))
        self.step = nn.Linear(width, width)
        more = max(0, length - len(matrices) - 2)  # where an adapter has fewer matrices than a prompt has tokens
        self.more = nn.Parameter(SPREAD * torch.randn((more, width), generator=draws))
        self.head = silent(width, 2 * width)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(len(g), 1, 1), requires_grad=False) for g in self._groups)

    def fit(self, factors: Factors) -> None:
        """Every matrix to a root mean square of 1."""
        for scale, group in zip(self.scales, self._groups, strict=True):
            scale.copy_(self._matrices(factors, group).square().mean(dim=(0, 2, 3)).sqrt().clamp(min=1e-8).view(-1, 1, 1))

    def forward(self, factors: Factors, step: torch.Tensor) -> torch.Tensor:
        """See the package."""
        parts = [bank(self._matrices(factors, g) / s) for bank, s, g in zip(self.banks, self.scales, self._groups, strict=True)]
        tokens = torch.cat(parts, dim=1)[:, self._order]
        fixed = [x.expand(len(step), -1, -1) for x in (self.task, self.more)]
        whole = torch.cat([fixed[0], self.step(step).unsqueeze(1), tokens, fixed[1]], dim=1)
        return self.head(self._text[0](whole)[:, : self._length])

    @staticmethod
    def _matrices(factors: Factors, group: list[tuple[str, int]]) -> torch.Tensor:
        """A and B^T alike as ``(K, M, r, n)``."""
        return torch.stack([factors[name][part] if part == 0 else factors[name][part].mT for name, part in group], dim=1)
