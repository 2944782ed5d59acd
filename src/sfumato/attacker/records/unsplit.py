"""The condition out of split learning's activations, knowing only what the owner's layers look like.

Erdogan, Kupcu, Cicek, "UnSplit" (WPES 2022): guess the input and a clone of the layers in turn, until the clone maps the guess onto what
was seen. The noised latents are seen too, so that only the condition is guessed. Scale, sign and mixtures of its channels are not
identified by the activations (the clone's next layer undoes them), but conditions are not like their mixtures: where public ones are
granted, the guess is theirs in whitened coordinates, held to a standard normal, and gets their mean and spread in the end.

Settings: the paper's 1000 x (100 + 100) steps of 1e-3 with Adam, here fewer and ten times as long, and the sums taken as means.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import Activations, Architecture, Latents, Public, Scenario
from sfumato.attacker.records._invert import Whitened, variation
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator

DESCRIPTION = "UnSplit: the condition and a clone of the owner's layers, guessed in turn from activations (Erdogan et al. 2022)"
TARGETS: tuple[Target, ...] = ("condition",)
NEEDS: tuple[type, ...] = (Latents, Activations, Architecture)
MAY_USE: tuple[type, ...] = (Public,)
COUNT: dict[Effort, int] = {"quick": 32, "full": 64}
ROUNDS: dict[Effort, tuple[int, int]] = {"quick": (30, 20), "full": (100, 20)}  # rounds, and steps of each half
LR = 1e-2
LAMBDA_TV, LAMBDA_2 = 0.1, 1.0
SCALE = 1e-2  # of both: ours are means over a latent's 4 channels, beside an error in units of the activations' own variance
LAMBDA_PRIOR, PACE = 1e-3, 5.0  # of a whitened coordinate's mean square; and its rate, in rates of the clone


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Guess every record's condition latent."""
    z, a = scenario[Latents].z, scenario[Activations].a  # (K, N, 4, h, w), (K, N, C, h, w)
    rounds, steps = ROUNDS[effort]
    draws, public = generator(seed, 1), scenario.get(Public)
    clone = scenario[Architecture].new(draws).requires_grad_(True)
    unknown, condition, penalty = _anything(z.shape[1:], draws) if public is None else _one_more(public.c, z.shape[1:])
    guessing = torch.optim.Adam([unknown], lr=LR * (1 if public is None else PACE), amsgrad=True)
    cloning = torch.optim.Adam(clone.parameters(), lr=LR, amsgrad=True)
    optimisers = [guessing, cloning] if public is None else [cloning, guessing]  # the mean is a guess already
    variance = a.var().clamp_min(1e-12)

    def objective() -> torch.Tensor:
        c = condition()
        missed = torch.stack([(clone(z_t, c) - seen).square().mean() for z_t, seen in zip(z, a, strict=True)]).mean()
        return missed / variance + penalty()

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
    guess = condition().detach().clone()
    if public is not None:
        guess = _alike(guess, public.c)
    return Guess(c=guess, curve=curve, budget={"rounds": rounds, "steps": 2 * rounds * steps, "lr": LR})


Unknown = tuple[torch.Tensor, Callable[[], torch.Tensor], Callable[[], torch.Tensor]]  # what is guessed, the condition, a penalty


def _anything(shape: torch.Size, draws: torch.Generator) -> Unknown:
    """Conditions ``(N, 4, h, w)`` of which nothing is known: smooth and small."""
    c = (0.1 * torch.randn(shape, generator=draws)).requires_grad_(True)
    return c, lambda: c, lambda: SCALE * (LAMBDA_TV * variation(c).sum() / c.numel() + LAMBDA_2 * c.square().mean())


def _one_more(public: torch.Tensor, shape: torch.Size) -> Unknown:
    """Conditions ``(N, 4, h, w)`` like ``public`` ones; the first guess is their mean."""
    known = Whitened(public.flatten(1))
    u = torch.zeros(shape[0], len(known.mean)).requires_grad_(True)
    return u, lambda: known(u).view(shape), lambda: LAMBDA_PRIOR * u.square().mean()


def _alike(c: torch.Tensor, public: torch.Tensor) -> torch.Tensor:
    """``c`` ``(N, 4, h, w)`` with every channel's mean and spread those of ``public``."""
    (mean, std), (wanted, spread) = (tuple(f(x, dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)) for x in (c, public))
    return (c - mean) / std.clamp_min(1e-8) * spread + wanted
