"""Feature-space hijacking: a server that lies in the gradients, until the owner's layers are its own encoder.

Pasquini, Ateniese, Bernaschi, "Unleashing the tiger" (CCS 2021). The server has an encoder into the space of the activations, a decoder out
of it, trained on public conditions, and a critic that tells the encoder's codes from the owner's activations. What goes down to the owner
is not the task's gradient but the critic's: the owner makes its own layers a likeness of the encoder, and the decoder reads what it sends.

Two things are made easy for an owner that has few and small steps. The encoder is a fixed linear map of the condition, quickly learnt and
no moving target (the paper trains one). And what is linear in ``z_t``, which the server sees, is taken off the activations first, by a
regression that follows the owner's steps.
"""

from __future__ import annotations

import torch
from torch import nn

from sfumato.attacker.attempt import Effort, Tell
from sfumato.attacker.knowledge import GradientChannel, Latents, Public, Scenario
from sfumato.attacker.records._invert import redraw
from sfumato.attacker.records.base import Guess, Target
from sfumato.core.randomness import generator

DESCRIPTION = "feature-space hijacking: lying gradients turn the owner's layers into the server's encoder (Pasquini et al. 2021)"
TARGETS: tuple[Target, ...] = ("condition",)
NEEDS: tuple[type, ...] = (GradientChannel, Public)
MAY_USE: tuple[type, ...] = (Latents,)
COUNT: dict[Effort, int] = {"quick": 64, "full": 200}
STEPS: dict[Effort, int] = {"quick": 1000, "full": 3000}
LR, LR_CRITIC, PENALTY, LOOKS, BATCH = 1e-3, 1e-3, 1.0, 3, 16
LISTEN = 0.2  # share of the steps, the last ones, in which the server only reads


def run(scenario: Scenario, *, effort: Effort, seed: int, tell: Tell) -> Guess:
    """Hijack the owner, then decode what it sends. Records that it never sent in time get the public mean."""
    channel, public, draws = scenario[GradientChannel], scenario[Public].c, generator(seed, 1)
    first = channel.forward(0)["a"]
    width, steps = first.shape[1], STEPS[effort]
    encode = nn.Conv2d(public.shape[1], width, 1).requires_grad_(False)
    redraw(encode, draws)
    decode = _net(width, public.shape[1], draws=draws)
    critic = _net(width, 1, draws=draws)
    reader = torch.optim.Adam(decode.parameters(), lr=LR)
    remainder = _Remainder()
    judge = torch.optim.Adam(critic.parameters(), lr=LR_CRITIC, betas=(0.5, 0.9))

    def known() -> torch.Tensor:
        return public[torch.randint(len(public), (BATCH,), generator=draws)]

    curve = []
    for k in range(steps):
        c = known()
        missed = (decode(encode(c)) - c).square().mean()
        reader.zero_grad(set_to_none=True)
        missed.backward()
        reader.step()

        sent = channel.forward(k)
        rest = remainder.follow(sent["z_t"], sent["a"])
        for _ in range(LOOKS):
            codes = encode(known())[: len(rest)]
            loss = critic(rest).mean() - critic(codes).mean() + PENALTY * _steepness(critic, codes, rest[: len(codes)], draws)
            judge.zero_grad(set_to_none=True)
            loss.backward()
            judge.step()

        rest.requires_grad_(True)
        (pull,) = torch.autograd.grad(-critic(rest).mean(), [rest])  # the remainder moves as the activation does
        channel.backward(pull)
        if k % max(1, steps // 20) == 0 or k + 1 == steps:
            curve.append((k + 1.0, float(missed.detach())))
        tell(k + 1, steps)

    c, heard = _listen(channel, decode, remainder, public, first=steps, batches=round(LISTEN * steps), scenario=scenario)
    return Guess(c=c, curve=curve, budget={"steps": steps, "records heard": heard, "lr": LR})


@torch.no_grad()
def _listen(
    channel: GradientChannel,
    decode: nn.Module,
    remainder: _Remainder,
    public: torch.Tensor,
    *,
    first: int,
    batches: int,
    scenario: Scenario,
) -> tuple[torch.Tensor, int]:
    """Every record's condition ``(N, 4, h, w)``, the mean of what its activations decode to, and of how many any were heard."""
    latents = scenario.get(Latents)
    heard: dict[int, list[torch.Tensor]] = {}
    for k in range(first, first + batches):
        sent = channel.forward(k)
        for row, c in zip(sent["rows"].tolist(), decode(remainder.follow(sent["z_t"], sent["a"])), strict=True):
            heard.setdefault(row, []).append(c)
    count = 1 + max(heard) if latents is None else latents.z.shape[1]
    mean = public.mean(0)
    return torch.stack([torch.stack(heard[i]).mean(0) if i in heard else mean for i in range(count)]), len(heard)


class _Remainder:
    """Activations less what is linear in the ``z_t`` around, by least squares over the latest batches."""

    def __init__(self, forget: float = 0.9) -> None:
        self._forget, self._square, self._cross = forget, torch.zeros(()), torch.zeros(())

    @torch.no_grad()
    def follow(self, z_t: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """What is left of ``a`` ``(B, C, h, w)``, given ``z_t`` ``(B, 4, h, w)``."""
        around = nn.functional.unfold(z_t, 3, padding=1).transpose(1, 2).flatten(0, 1)  # (B h w, 36)
        around = torch.cat([around, torch.ones(len(around), 1)], 1)
        self._square = self._forget * self._square + around.T @ around
        self._cross = self._forget * self._cross + around.T @ a.permute(0, 2, 3, 1).flatten(0, 2)
        ridge = 1e-4 * self._square.diagonal().mean() * torch.eye(around.shape[1])
        slopes = torch.linalg.solve(self._square + ridge, self._cross)
        slopes[-1] = 0  # the mean is no matter of z_t
        return a - (around @ slopes).unflatten(0, (len(a), *a.shape[2:])).permute(0, 3, 1, 2)


def _steepness(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """How far the critic's slope between two of ``(B, C, h, w)`` is from 1 (Gulrajani et al. 2017)."""
    mix = torch.rand((len(fake), 1, 1, 1), generator=draws)
    between = (mix * real[: len(fake)] + (1 - mix) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum((1, 2, 3)).sum(), [between], create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _net(inputs: int, outputs: int, *, draws: torch.Generator, width: int = 32) -> nn.Sequential:
    """Two hidden layers of convolutions: ``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
    net = nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
        nn.Conv2d(width, outputs, 3, padding=1),
    )  # fmt: skip
    redraw(net, draws)
    return net
