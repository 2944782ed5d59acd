"""The condition out of split learning's activations, knowing only what the owner's layers look like.

Erdogan, Kupcu, Cicek, "UnSplit" (WPES 2022): guess the input and a clone of the layers in turn, until the clone maps the guess onto what
was seen. The noised latents are seen too, so that only the condition is guessed. Scale and sign of it are not identified by the activations
(the clone's next layer undoes them); where public pictures are granted, the guess gets their mean and spread.

Settings: the paper's 1000 x (100 + 100) steps with Adam and the sums taken as means; ``quick`` takes fewer and longer steps.
"""

from __future__ import annotations

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Activations, Architecture, Latents, Public, Scenario
from sfumato.attacker.records._invert import variation
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator

DESCRIPTION = "UnSplit: the condition and a clone of the owner's layers, guessed in turn from activations (Erdogan et al. 2022)"
TARGETS: tuple[Target, ...] = ("condition",)
NEEDS: tuple[type, ...] = (Latents, Activations, Architecture)
COUNT: dict[Effort, int] = {"quick": 32, "full": 64}
ROUNDS: dict[Effort, tuple[int, int]] = {"quick": (30, 20), "full": (1000, 100)}  # rounds, and steps of each half
LR: dict[Effort, float] = {"quick": 1e-2, "full": 1e-3}
LAMBDA_TV, LAMBDA_2 = 0.1, 1.0
SCALE = 1e-2  # of both: ours are means over a latent's 4 channels, beside an error in units of the activations' own variance


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess every record's condition latent."""
    z, a = scenario[Latents].z, scenario[Activations].a  # (K, N, 4, h, w), (K, N, C, h, w)
    rounds, steps = ROUNDS[effort]
    draws = generator(seed, 1)
    clone = scenario[Architecture].new(draws).requires_grad_(True)
    c = (0.1 * torch.randn(z.shape[1:], generator=draws)).requires_grad_(True)
    optimisers = [torch.optim.Adam([c], lr=LR[effort], amsgrad=True), torch.optim.Adam(clone.parameters(), lr=LR[effort], amsgrad=True)]
    variance = a.var().clamp_min(1e-12)

    def objective() -> torch.Tensor:
        missed = torch.stack([(clone(z_t, c) - seen).square().mean() for z_t, seen in zip(z, a, strict=True)]).mean() / variance
        smooth = variation(c).sum() / c.numel()
        return missed + SCALE * (LAMBDA_TV * smooth + LAMBDA_2 * c.square().mean())

    curve = []
    for k in range(rounds):
        for optimiser in optimisers:
            for _ in range(steps):
                loss = objective()
                for other in optimisers:
                    other.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        curve.append(((k + 1) * 2.0 * steps, float(loss.detach())))
        tell(k + 1, rounds)
    guess = c.detach().clone()
    public = scenario.get(Public)
    if public is not None:
        guess = _alike(guess, public.c)
    return Guess(c=guess, curve=curve, budget={"rounds": rounds, "steps": 2 * rounds * steps, "lr": LR[effort]})


def _alike(c: torch.Tensor, public: torch.Tensor) -> torch.Tensor:
    """``c`` ``(N, 4, h, w)`` with every channel's mean and spread those of ``public``."""
    (mean, std), (wanted, spread) = (tuple(f(x, dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)) for x in (c, public))
    return (c - mean) / std.clamp_min(1e-8) * spread + wanted
