"""The exact objective on noisy data.

A sealed latent ``z_n`` becomes a draw of ``q(z_t | z_0)`` for any t > n by adding noise of the server's own:

    a   = alpha_t / alpha_n
    s   = sqrt(1 - a**2)
    z_t = a * z_n + s * eps_server

By Tweedie ``E[eps_server | z_t] = -s * score(z_t)`` while the model's own output is ``eps_hat = -sigma_t * score(z_t)``, so
``mse((s / sigma_t) * eps_hat, eps_server)`` has the minimiser that clean latents would give, for every t > n
(Daras, Dimakis, Daskalakis, "Consistent Diffusion Meets Tweedie", arXiv 2404.10177).
"""

from __future__ import annotations

import torch

from sfumato.diffusion.schedule import Schedule


def renoise(
    z_n: torch.Tensor,
    n: torch.Tensor,
    t: torch.Tensor,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    eps: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take latents from step ``n`` to step ``t``.

    Args:
        z_n: ``(B, C, h, w)``.
        n, t: integer ``(B,)`` with ``t > n``; ``n = -1`` means clean.
        schedule: the base's.
        generator: the server's own noise.
        eps: that noise, where it was drawn already.

    Returns:
        ``z_t`` and ``eps_server`` of z_n's shape, and ``s`` of shape ``(B, 1, 1, 1)``.
    """
    if bool((t <= n).any()):
        raise ValueError("every t must lie above its n: below the seal step a record holds no signal")
    a = schedule.alpha(t) / schedule.alpha(n)
    s = (1 - a**2).sqrt()
    a, s = (x.to(z_n).view(-1, 1, 1, 1) for x in (a, s))
    if eps is None:
        eps = torch.randn(z_n.shape, generator=generator, dtype=z_n.dtype, device=z_n.device)
    return a * z_n + s * eps, eps, s


def eps_from(output: torch.Tensor, z_t: torch.Tensor, t: torch.Tensor, schedule: Schedule, prediction_type: str) -> torch.Tensor:
    """The model's ``eps_hat``, whether it predicts epsilon or v; ``eps_hat = alpha_t v_hat + sigma_t z_t``."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        alpha, sigma = (x.to(output).view(-1, 1, 1, 1) for x in (schedule.alpha(t), schedule.sigma(t)))
        return alpha * output + sigma * z_t
    raise ValueError(f"prediction type {prediction_type!r}; expected epsilon or v_prediction")


def sealed_loss(eps_hat: torch.Tensor, eps: torch.Tensor, s: torch.Tensor, t: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """``mse((s / sigma_t) * eps_hat, eps_server)``, one value for each record, shape ``(B,)``."""
    ratio = s / schedule.sigma(t).to(s).view(-1, 1, 1, 1)
    return (ratio * eps_hat - eps).square().mean(dim=(1, 2, 3))


def draw_t(n: torch.Tensor, steps: int, *, generator: torch.Generator) -> torch.Tensor:
    """``t ~ U(n, T)`` for each record, stratified over the batch: the same law, less variance."""
    b = len(n)
    u = (torch.randperm(b, generator=generator) + torch.rand(b, generator=generator)) / b
    return (n + 1 + u * (steps - 1 - n)).long().clamp(max=steps - 1)
