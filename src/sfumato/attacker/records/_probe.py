"""Who a record shows, by the pictures that it turns into: the base's guess at the picture and the best linear one at its condition.

They are described as ``features.identity`` describes pictures, and a linear map takes the description to the attacker's own identity
space. It is trained on public people pushed through the mechanism, so it knows what the VAE and the noise do to a description, which a
head that saw only clean pictures does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.attacker.attempt import Tell
from sfumato.attacker.knowledge import Mechanism, Public, Scenario
from sfumato.attacker.records._evidence import Evidence, see
from sfumato.attacker.records._fit import Curve, fit
from sfumato.attacker.records._identity import learned, people_of
from sfumato.attacker.records._sampling import posterior_mean
from sfumato.attacker.records.linear_mmse import estimate
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base
from sfumato.features import identity

BATCH, LR, DECAY, DROPOUT = 256, 1e-3, 0.1, 0.5
SCALE, MARGIN, PULL = 16.0, 0.2, 4.0  # CosFace's, and the weight of the clean picture's own embedding beside it


@dataclass(frozen=True, eq=False)
class Probe:
    """Descriptions ``(N, D)``, standardised by ``mean`` and ``std`` ``(D,)``, to embeddings of length 1 by ``weight`` ``(128, D)``."""

    mean: torch.Tensor
    std: torch.Tensor
    weight: torch.Tensor

    def __call__(self, described: torch.Tensor) -> torch.Tensor:
        return F.normalize((described - self.mean) / self.std @ self.weight.T, dim=1)


def described(seen: Evidence, base: Base, public: Public, *, tell: Tell) -> torch.Tensor:
    """The description ``(N, D)`` of each observation's picture, and beside it that of its condition where one leaked."""
    precision = choose_precision(base.unet.device)
    with autocast(base.unet.device, precision):
        shown = [base.decode_pixels(posterior_mean(base, seen, tell=tell), precision=precision)]
    if seen.y is not None:
        shown.append(base.decode_pixels(estimate(seen, public)[1], precision=precision))
    return torch.from_numpy(np.hstack([identity.describe(images, precision=choose_precision("cpu")) for images in shown])).float()


def train(scenario: Scenario, *, releases: int, steps: int, seed: int, tell: Tell) -> tuple[Probe, Curve]:
    """A probe for what the scenario's mechanism leaves of people, from ``releases`` observations of every public picture."""
    base, public, mechanism = scenario[Base], scenario[Public], scenario[Mechanism]
    _, embedded = learned(public)
    member, centres = people_of(public)
    observations = [
        described(see(mechanism.push(public.z_0, public.c, generator(seed, 37, k)), base.schedule), base, public, tell=tell)
        for k in range(releases)
    ]
    x = torch.cat(observations)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-2)
    x = (x - mean) / std
    own, person = embedded.repeat(releases, 1), member.repeat(releases)
    weight = (torch.randn(embedded.shape[1], x.shape[1], generator=generator(seed, 41)) / x.shape[1] ** 0.5).requires_grad_()

    def loss(step: int) -> torch.Tensor:
        draws = generator(seed, 43, step)
        rows = torch.randint(len(x), (BATCH,), generator=draws)
        kept = (torch.rand(BATCH, x.shape[1], generator=draws) >= DROPOUT) / (1 - DROPOUT)
        said = F.normalize((x[rows] * kept) @ weight.T, dim=1)
        right = F.one_hot(person[rows], len(centres))
        near = F.cross_entropy(SCALE * (said @ centres.T - MARGIN * right), person[rows])
        return near + PULL * (1 - (said * own[rows]).sum(1).mean())

    curve = fit([weight], loss, steps=steps, lr=LR, weight_decay=DECAY, falling=True, tell=tell)
    return Probe(mean, std, weight.detach()), curve
