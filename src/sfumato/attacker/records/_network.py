"""A small network from the evidence to whatever an attacker wants, trained on public pictures pushed through the mechanism."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from sfumato.attacker.attempt import Tell
from sfumato.attacker.knowledge import Mechanism, Public, Scenario
from sfumato.attacker.records._evidence import Evidence, see
from sfumato.attacker.records._fit import Curve, fit
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.schedule import Schedule

CHANNELS = 10  # x and y at unit variance, and the logarithm of their noise


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.silu(norm(y)))
        return x + y


class Reader(nn.Module):
    """Evidence ``(B, 10, h, w)`` to latents ``(B, out, h, w)``, or with ``pooled`` to vectors ``(B, out)``."""

    def __init__(self, out: int, *, pooled: bool, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, width, 3, padding=1)
        self.fine = nn.Sequential(_Block(width), _Block(width))
        self.down = nn.Conv2d(width, width, 2, stride=2)
        self.coarse = nn.Sequential(_Block(width), _Block(width))
        self.pooled = pooled
        self.last: nn.Module
        if pooled:
            self.last = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.SiLU(), nn.Linear(16 * width, out))
        else:
            self.last = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, evidence: torch.Tensor) -> torch.Tensor:
        fine = self.fine(self.first(evidence))
        coarse = self.coarse(self.down(fine))
        if self.pooled:
            found: torch.Tensor = self.last(coarse)
            return found
        found = self.last(fine + F.interpolate(coarse, fine.shape[-2:], mode="nearest"))
        return found


def inputs(seen: Evidence) -> torch.Tensor:
    """Evidence as ``(N, 10, h, w)``; what did not leak is zero."""

    def channels(look: torch.Tensor, variance: torch.Tensor) -> list[torch.Tensor]:
        r = variance.view(-1, 1, 1, 1)
        return [look / (1 + r).sqrt(), r.clamp(min=1e-6).log().expand(-1, 1, *look.shape[-2:]) / 4]

    x = channels(seen.x, seen.v)
    if seen.y is None or seen.w is None:
        return torch.cat([*x, torch.zeros_like(x[0]), torch.zeros_like(x[1])], dim=1)
    return torch.cat([*x, *channels(seen.y, seen.w)], dim=1)


def learn(
    reader: Reader,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scenario: Scenario,
    schedule: Schedule,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    lr: float = 2e-3,
    tell: Tell,
) -> Curve:
    """Train ``reader`` in place and keep what did best on public people that it has not trained on (the last, where they are few).

    Returns the curve of that loss.

    Args:
        loss: what the reader said ``(B, ...)`` and the public rows ``(B,)`` it was said of, to a number.
        scenario: grants ``Public`` and ``Mechanism``; every batch is pushed anew, with noise of its own.
        steps, seed, batch, lr: of AdamW with a cosine fall.
    """
    public, mechanism = scenario[Public], scenario[Mechanism]
    people = sorted(set(public.identities))
    aside = set(people[:: max(2, len(people) // 30)]) if len(people) >= 8 else set()
    held = torch.tensor([person in aside for person in public.identities])
    train, kept = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
    best, state = float("inf"), reader.state_dict()

    def of_batch(step: int) -> torch.Tensor:
        draws = generator(seed, 3, step)
        rows = train[torch.randint(len(train), (batch,), generator=draws)]
        shown = _pushed(public, mechanism, rows, schedule, draws)
        with autocast(shown.device, choose_precision()):  # half the time where the machine has it
            said = reader(shown)
        return loss(said.float(), rows)

    def judged() -> float:
        nonlocal best, state
        now = _judged(reader, loss, public, mechanism, kept, schedule, seed)
        if now <= best:
            best, state = now, copy.deepcopy(reader.state_dict())
        return now

    measure = judged if len(kept) else None
    curve = fit(reader.parameters(), of_batch, steps=steps, lr=lr, falling=True, clip=1.0, tell=tell, measure=measure)
    if measure is not None:
        reader.load_state_dict(state)
    reader.eval()
    return curve


def _pushed(public: Public, mechanism: Mechanism, rows: torch.Tensor, schedule: Schedule, draws: torch.Generator) -> torch.Tensor:
    return inputs(see(mechanism.push(public.z_0[rows], public.c[rows], draws), schedule))


@torch.no_grad()
def _judged(
    reader: Reader,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    public: Public,
    mechanism: Mechanism,
    rows: torch.Tensor,
    schedule: Schedule,
    seed: int,
) -> float:
    rows = rows[:256]
    return float(loss(reader(_pushed(public, mechanism, rows, schedule, generator(seed, 5))), rows))


@torch.no_grad()
def read(reader: Reader, seen: Evidence, *, batch: int = 128) -> torch.Tensor:
    """What ``reader`` says of the evidence, a few records at a time."""
    shown = inputs(seen)
    return torch.cat([reader(shown[i : i + batch]) for i in range(0, len(shown), batch)])
