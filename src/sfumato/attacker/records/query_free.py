"""Inversion without the owner's model: fit a likeness of it on public pictures, then descend on pixels through the likeness.

He, Zhang, Lee (ACSAC 2019), query-free: the shadow is trained on other people's pictures, never asked for a private one. Two shadows here:
of the VAE, a small encoder distilled from public pictures and their latents; of conventional split learning's layers, an entrance of known
architecture whose outputs on public conditions are to have the statistics of what was seen. (The paper trains it through the server's
half; this attack is not handed that.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Activations, Architecture, Entrance, Latents, Public, Scenario
from sfumato.attacker.records._evidence import TRACES
from sfumato.attacker.records._fit import fit
from sfumato.attacker.records._invert import centres, descend, of_condition, of_picture, redraw
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base, to_pixels

DESCRIPTION = "query-free inversion: regularised maximum likelihood through a shadow fitted on public pictures (He et al. 2019)"
TARGETS: tuple[Target, ...] = ("picture", "condition")
NEEDS: tuple[type, ...] = (Latents, Public, Base)
MAY_USE: tuple[type, ...] = (*TRACES, Activations, Architecture, Entrance)
COUNT: dict[Effort, int] = {"quick": 32, "full": 64}
FIT: dict[Effort, int] = {"quick": 400, "full": 1600}
ITERATIONS: dict[Effort, int] = {"quick": 200, "full": 300}
LR, LAMBDA_TV, LAMBDA_2 = 0.1, 2.0, 0.1  # scaled as in rmle
BATCH = 32


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Fit the shadows, then guess pictures, and conditions where anything leaked of them."""
    base = scenario[Base]
    fit, iterations = FIT[effort], ITERATIONS[effort]
    total = 2 * (fit + iterations)
    images = torch.from_numpy(scenario[Public].images).permute(0, 3, 1, 2).float() / 127.5 - 1
    encode, missed = shadow_encoder(images, scenario[Public].z_0, steps=fit, draws=generator(seed, 1), tell=lambda k: tell(k, total))
    picture, condition = centres(scenario, base)
    x, curve = descend(
        of_picture(scenario, encode),
        picture,
        iterations=iterations,
        lr=LR,
        tv=LAMBDA_TV,
        l2=LAMBDA_2,
        tell=lambda k, _: tell(fit + k, total),
    )
    guess = Guess(images=to_pixels(x), curve=curve)
    guess.budget = {"shadow steps": fit, "shadow's error": missed, "iterations": iterations, "lr": LR, "lambda_TV": LAMBDA_TV}

    entrance = None
    if scenario.get(Architecture) and scenario.get(Activations):
        entrance, guess.budget["entrance's error"] = shadow_entrance(scenario, steps=fit, draws=generator(seed, 2))
    of_c = of_condition(scenario, encode, entrance)
    tell(2 * fit + iterations, total)
    if of_c is not None:
        x, guess.budget["condition curve"] = descend(
            of_c,
            condition,
            iterations=iterations,
            lr=LR,
            tv=LAMBDA_TV,
            l2=LAMBDA_2,
            tell=lambda k, _: tell(2 * fit + iterations + k, total),
        )
        with torch.no_grad():
            guess.c = encode(x)
    tell(total, total)
    return guess


def shadow_encoder(
    images: torch.Tensor, z_0: torch.Tensor, *, steps: int, draws: torch.Generator, tell: Callable[[int], None]
) -> tuple[nn.Module, float]:
    """A small convolutional encoder from pictures ``(P, 3, H, W)`` to their latents ``(P, 4, h, w)``, and its mean squared error."""
    factor, width = images.shape[-1] // z_0.shape[-1], 16 * 3
    layers: list[nn.Module] = [nn.PixelUnshuffle(factor), nn.Conv2d(3 * factor**2, width, 3, padding=1), nn.SiLU()]
    layers += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, z_0.shape[1], 3, padding=1)]
    net = nn.Sequential(*layers)
    redraw(net, draws)

    def loss(step: int) -> torch.Tensor:
        index = torch.randint(len(images), (BATCH,), generator=draws)
        return (net(images[index]) - z_0[index]).square().mean()

    curve = fit(net.parameters(), loss, steps=steps, lr=3e-3, falling=True, weight_decay=0, tell=lambda k, _: tell(k))
    return net.requires_grad_(False), curve[-1][1]


def shadow_entrance(scenario: Scenario, *, steps: int, draws: torch.Generator) -> tuple[nn.Module, float]:
    """An entrance whose activations on the records' ``z_t`` and on public conditions have the moments of those that were seen."""
    latents, a, public = scenario[Latents].z.flatten(0, 1), scenario[Activations].a.flatten(0, 1), scenario[Public].c
    net = scenario[Architecture].new(draws).requires_grad_(True)
    wanted = _moments(a, a), _moments(a, latents)

    def loss(step: int) -> torch.Tensor:
        guess = net(latents, public[torch.randint(len(public), (len(latents),), generator=draws)])
        got = _moments(guess, guess), _moments(guess, latents)
        return torch.stack([(g - w).square().sum() / w.square().sum() for g, w in zip(got, wanted, strict=True)]).mean()

    curve = fit(net.parameters(), loss, steps=steps, lr=1e-2, weight_decay=0, tell=lambda k, of: None)
    return net.requires_grad_(False), curve[-1][1]


def _moments(a: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Means of the channels of ``a`` ``(B, C, h, w)``, and their covariances with ``other`` ``(B, D, h, w)`` here and next door."""
    mean = a.mean((0, 2, 3))
    a, other = (x - x.mean((0, 2, 3), keepdim=True) for x in (a, other))
    found = [mean]
    for step in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
        found.append(torch.einsum("bchw,bdhw->cd", a, other.roll(step, (2, 3))).flatten() / a[:, 0].numel())
    return torch.cat(found)
