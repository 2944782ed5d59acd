"""What the inverting attacks share: several releases as one estimate, pixels through an encoder, and the descent on pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sfumato.attacker.knowledge import Activations, Conditions, Entrance, Latents, Mixed, Noise, Scenario
from sfumato.attacker.records.base import Tell
from sfumato.diffusion.base import Base
from sfumato.diffusion.controlnet import ACTIVATIONS
from sfumato.diffusion.schedule import Schedule

FLOOR = 0.1  # what is left open of a latent that bears no noise: many pictures have nearly the same, few of them smooth
SHARP = 0.05  # the same of activations and mixtures, as a share of their spread
Encode = Callable[[torch.Tensor], torch.Tensor]
Residual = Callable[[torch.Tensor], torch.Tensor]


def pooled(z: torch.Tensor, n: torch.Tensor, schedule: Schedule) -> tuple[torch.Tensor, torch.Tensor]:
    """All that K releases ``z`` ``(K, N, 4, h, w)`` at steps ``n`` ``(K, N)`` say of one latent, where nothing else is known.

    Returns:
        Its least-variance unbiased estimate ``(N, 4, h, w)`` and the estimate's standard deviation ``(N, 1, 1, 1)``.
    """
    alpha, sigma = (x.to(z).view(*n.shape, 1, 1, 1) for x in (schedule.alpha(n), schedule.sigma(n)))
    weight = (alpha / sigma.clamp_min(FLOOR)).square()
    total = weight.sum(0)
    return (weight * z / alpha).sum(0) / total, total.rsqrt()


def encoder(base: Base) -> Encode:
    """The base's own encoder as ``base.encode`` has it, with gradients: ``(B, 3, H, W)`` in [-1, 1] to ``(B, 4, h, w)``."""

    def encode(x: torch.Tensor) -> torch.Tensor:
        mean: torch.Tensor = base.vae.encode(x).latent_dist.mean
        return mean * base.vae.config.scaling_factor

    return encode


def of_picture(scenario: Scenario, encode: Encode) -> Residual:
    """How far pictures ``(N, 3, H, W)`` are from what leaked of them, in units of the noise: ``(N, 4, h, w)``."""
    latents, schedule = scenario[Latents], scenario[Base].schedule
    noise = scenario.get(Noise)
    if noise is None:
        seen, spread = pooled(latents.z, latents.n, schedule)
    else:  # the very noise is known: nothing is left of it
        alpha, sigma = (x.to(latents.z).view(*latents.n.shape, 1, 1, 1) for x in (schedule.alpha(latents.n), schedule.sigma(latents.n)))
        seen, spread = ((latents.z - sigma * noise.eps) / alpha).mean(0), torch.tensor(FLOOR)
    return lambda x: (encode(x) - seen) / spread


def of_condition(scenario: Scenario, encode: Encode, entrance: nn.Module | None = None) -> Residual | None:
    """The same for conditions ``(N, 3, H, W)``, from whatever bears traces of them; ``None`` where nothing does.

    Args:
        scenario: with noised conditions, with a one-way scheme's mixtures, or with activations of an ``entrance``.
        encode: pictures to latents.
        entrance: what the attacker takes for the owner's layers: those that it was granted, or its own likeness of them.
    """
    latents, conditions, mixed = scenario.get(Latents), scenario.get(Conditions), scenario.get(Mixed)
    activations, granted = scenario.get(Activations), scenario.get(Entrance)
    if conditions is not None:
        seen, spread = pooled(conditions.c, conditions.m, scenario[Base].schedule)
        return lambda x: (encode(x) - seen) / spread
    if latents is not None and mixed is not None:
        f, h = ACTIVATIONS[mixed.activation], mixed.h.to(latents.z)
        return lambda x: _by_record(f(encode(x) + latents.z) - h) / (SHARP * h.std())
    net = granted.net if granted is not None else entrance
    if latents is None or activations is None or net is None:
        return None
    a = activations.a
    return lambda x: _by_record(torch.stack([net(z, encode(x)) for z in latents.z]) - a) / (SHARP * a.std())


def _by_record(x: torch.Tensor) -> torch.Tensor:
    """K releases ``(K, N, C, h, w)`` as ``(N, K C, h, w)``."""
    return x.transpose(0, 1).flatten(1, 2)


def variation(x: torch.Tensor) -> torch.Tensor:
    """Squared differences of neighbours, summed over each of ``(B, C, H, W)``: ``(B,)``."""
    return x.diff(dim=2).square().sum((1, 2, 3)) + x.diff(dim=3).square().sum((1, 2, 3))


def descend(
    residual: Residual, shape: tuple[int, ...], *, iterations: int, lr: float, tv: float, l2: float, tell: Tell
) -> tuple[torch.Tensor, list[tuple[float, float]]]:
    """Pictures of ``shape`` that explain what leaked: ``sum(residual(x)²) + tv TV(x) + l2 sum(x²)`` by AMSGrad, from mid-grey.

    Records do not share anything, so that one descent serves them all. Pixels stay in [-1, 1].

    Returns:
        The pictures, and the objective per record and pixel on the way.
    """
    x = torch.zeros(shape, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=lr, amsgrad=True)
    falls: list[tuple[float, float]] = []
    for k in range(iterations):
        for group in optimiser.param_groups:  # a tail of smaller steps: those of Adam do not shrink by themselves
            group["lr"] = lr * min(1.0, 4 * (1 - k / iterations))
        loss = residual(x).square().flatten(1).sum(1) + tv * variation(x) + l2 * x.square().sum((1, 2, 3))
        (x.grad,) = torch.autograd.grad(loss.sum(), [x])
        optimiser.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
        if k % max(1, iterations // 20) == 0 or k + 1 == iterations:
            falls.append((k + 1, float(loss.detach().mean()) / x[0].numel()))
        tell(k + 1, iterations)
    return x.detach(), falls


def redraw(net: nn.Module, draws: torch.Generator) -> None:
    """Weights from the attack's own generator: torch draws them from a global one."""
    for parameter in net.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=draws)
        else:
            nn.init.zeros_(parameter)
