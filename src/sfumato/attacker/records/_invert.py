"""What the inverting attacks share: the evidence in units of its noise, pixels through an encoder, and the descent on pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sfumato.attacker.attempt import Tell
from sfumato.attacker.knowledge import Activations, Entrance, Latents, Public, Scenario
from sfumato.attacker.records._evidence import see
from sfumato.attacker.records.linear_mmse import shrunk
from sfumato.core.device import autocast
from sfumato.diffusion.base import Base

FLOOR = 0.1  # what is left open of a latent that bears no noise: many pictures have nearly the same, few of them smooth
SHARP = 0.05  # the same of activations, as a share of their spread
Encode = Callable[[torch.Tensor], torch.Tensor]
Residual = Callable[[torch.Tensor], torch.Tensor]


def encoder(base: Base, precision: str = "no") -> Encode:
    """The base's own encoder as ``base.encode`` has it, with gradients: ``(B, 3, H, W)`` in [-1, 1] to ``(B, 4, h, w)``."""

    def encode(x: torch.Tensor) -> torch.Tensor:
        with autocast(base.vae.device, precision):
            mean: torch.Tensor = base.vae.encode(x).latent_dist.mean
        return mean.float() * base.vae.config.scaling_factor

    return encode


def of_picture(scenario: Scenario, encode: Encode) -> Residual:
    """How far pictures ``(N, 3, H, W)`` are from what leaked of them, in units of the noise: ``(N, 4, h, w)``."""
    seen = see(scenario, scenario[Base].schedule)
    return _residual(encode, seen.x, seen.v)


def of_condition(scenario: Scenario, encode: Encode, entrance: nn.Module | None = None) -> Residual | None:
    """The same for conditions ``(N, 3, H, W)``, from whatever bears traces of them; ``None`` where nothing does.

    Args:
        scenario: with noised conditions, with a one-way scheme's mixtures, or with activations of an ``entrance``.
        encode: pictures to latents.
        entrance: what the attacker takes for the owner's layers: those that it was granted, or its own likeness of them.
    """
    seen = see(scenario, scenario[Base].schedule)
    if seen.y is not None and seen.w is not None:
        return _residual(encode, seen.y, seen.w)
    activations, granted = scenario.get(Activations), scenario.get(Entrance)
    net = granted.net if granted is not None else entrance
    if activations is None or net is None:
        return None
    z, a = scenario[Latents].z, activations.a
    # K releases (K, N, C, h, w) as (N, K C, h, w)
    return lambda x: (torch.stack([net(z_t, encode(x)) for z_t in z]) - a).transpose(0, 1).flatten(1, 2) / (SHARP * a.std())


def _residual(encode: Encode, look: torch.Tensor, variance: torch.Tensor) -> Residual:
    spread = variance.sqrt().clamp_min(FLOOR).view(-1, 1, 1, 1)
    return lambda x: (encode(x) - look) / spread


def centres(scenario: Scenario, base: Base) -> tuple[torch.Tensor, torch.Tensor]:
    """What a picture and a condition look like before anything is known of them, ``(N, 3, H, W)`` each: the mean of the public ones, the
    condition's by its latents; mid-grey where nothing is public."""
    shape = (scenario[Latents].z.shape[1], 3, scenario[Latents].z.shape[-2] * base.factor, scenario[Latents].z.shape[-1] * base.factor)
    public = scenario.get(Public)
    if public is None:
        return torch.zeros(shape), torch.zeros(shape)
    picture = torch.from_numpy(public.images.mean(0)).permute(2, 0, 1).float() / 127.5 - 1
    return picture.expand(shape).clone(), base.decode(public.c.mean(0, keepdim=True)).expand(shape).clone()


class Whitened:
    """What pictures are like, as coordinates: standard normal ones are one more row ``(D,)`` like the ``known`` ones ``(P, D)``.

    Their mean, and the axes of their shrunk covariance in units of the spread along each.
    """

    def __init__(self, known: torch.Tensor) -> None:
        self.mean = known.mean(0)
        values, axes = torch.linalg.eigh(shrunk(known.double()))
        self.axes = (values.clamp(min=0).sqrt() * axes).T.float()

    def __call__(self, coordinates: torch.Tensor) -> torch.Tensor:
        return self.mean + coordinates @ self.axes


def variation(x: torch.Tensor) -> torch.Tensor:
    """Squared differences of neighbours, summed over each of ``(B, C, H, W)``: ``(B,)``."""
    return x.diff(dim=2).square().sum((1, 2, 3)) + x.diff(dim=3).square().sum((1, 2, 3))


def descend(
    residual: Residual, centre: torch.Tensor, *, iterations: int, lr: float, tv: float, l2: float, tell: Tell
) -> tuple[torch.Tensor, list[tuple[float, float]]]:
    """Pictures that explain what leaked: ``sum(residual(x)²) + tv TV(x - centre) + l2 sum((x - centre)²)`` by AMSGrad, from ``centre``.

    Records do not share anything, so that one descent serves them all. Pixels stay in [-1, 1].

    Returns:
        The pictures, and the objective per record and pixel on the way.
    """
    x = centre.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([x], lr=lr, amsgrad=True)
    falls: list[tuple[float, float]] = []
    for k in range(iterations):
        for group in optimiser.param_groups:  # a tail of smaller steps: those of Adam do not shrink by themselves
            group["lr"] = lr * min(1.0, 4 * (1 - k / iterations))
        if not bool(x.isfinite().all()):
            raise ArithmeticError(f"diverged: pixels hold NaN or infinity after {k} iterations")
        apart = x - centre
        loss = residual(x).square().flatten(1).sum(1) + tv * variation(apart) + l2 * apart.square().sum((1, 2, 3))
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
