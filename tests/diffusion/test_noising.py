"""The exact objective, proved on a Gaussian whose score is known in closed form."""

import pytest
import torch

from sfumato.diffusion.noising import draw_t, eps_from, renoise, sealed_loss
from sfumato.diffusion.schedule import Schedule

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
SCHEDULE = Schedule((1 - BETAS).cumprod(0))
MEAN, STD = 0.7, 0.6  # z_0 ~ N(MEAN, STD^2)


def optimal_eps(z_t, t):
    """The eps_hat that clean latents would give: sigma_t * (z_t - alpha_t MEAN) / Var[z_t]."""
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    return sigma * (z_t - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)


@pytest.mark.parametrize("n", [-1, 200, 600, 900])
@pytest.mark.parametrize("gap", [1, 50, 99])
def test_the_minimiser_is_the_clean_one_analytically(n, gap):
    # E[eps_server | z_t] by joint Gaussianity of (eps_server, z_t), times sigma_t / s, must be optimal_eps for every t > n.
    t = n + gap
    a = SCHEDULE.alpha(t) / SCHEDULE.alpha(n)
    s = (1 - a**2).sqrt()
    variance = a**2 * (SCHEDULE.alpha(n) ** 2 * STD**2 + SCHEDULE.sigma(n) ** 2) + s**2
    for z_t in (-1.3, 0.0, 2.1):
        conditional = s * (z_t - SCHEDULE.alpha(t) * MEAN) / variance
        assert float(SCHEDULE.sigma(t) / s * conditional) == pytest.approx(
            float(optimal_eps(torch.tensor(z_t, dtype=torch.float64), t)), rel=1e-9
        )


@pytest.mark.parametrize("t", [650, 800, 999])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_minimiser_is_the_clean_one_by_monte_carlo(t, prediction):
    # Fit the best affine eps_hat on sealed data by the loss's normal equations and compare it with the clean optimum.
    draws = torch.Generator().manual_seed(3)
    count, n = 400_000, 600
    z_0 = MEAN + STD * torch.randn(count, 1, 1, 1, generator=draws, dtype=torch.float64)
    z_n = SCHEDULE.alpha(n) * z_0 + SCHEDULE.sigma(n) * torch.randn(z_0.shape, generator=draws, dtype=torch.float64)
    steps = torch.full((count,), t)
    z_t, eps, s = renoise(z_n, torch.full((count,), n), steps, SCHEDULE, generator=draws)
    ratio = s.flatten()[0] / SCHEDULE.sigma(t)
    x = z_t.flatten()
    if prediction == "v_prediction":  # the model's output v is affine in z_t; eps_hat is made from it
        target = (eps.flatten() / ratio - SCHEDULE.sigma(t) * x) / SCHEDULE.alpha(t)
    else:
        target = eps.flatten() / ratio
    features = torch.stack([x, torch.ones_like(x)], dim=1)
    slope, offset = torch.linalg.lstsq(features, target[:, None]).solution.flatten()
    for z in (-1.0, 0.5, 1.5):
        z = torch.tensor([[[[z]]]], dtype=torch.float64)
        fitted = eps_from(slope * z + offset, z, torch.tensor([t]), SCHEDULE, prediction)
        assert float(fitted) == pytest.approx(float(optimal_eps(z, t)), abs=0.02)
        losses = [float(sealed_loss(scale * optimal_eps(z_t, t), eps, s, steps, SCHEDULE).mean()) for scale in (0.9, 1.0, 1.1)]
        assert losses[1] == min(losses)


def test_renoised_latents_have_the_law_of_q():
    draws = torch.Generator().manual_seed(0)
    z_0 = torch.full((200_000, 1, 1, 1), 1.5, dtype=torch.float64)
    z_n = SCHEDULE.alpha(400) * z_0 + SCHEDULE.sigma(400) * torch.randn(z_0.shape, generator=draws, dtype=torch.float64)
    z_t, _, _ = renoise(z_n, torch.full((200_000,), 400), torch.full((200_000,), 700), SCHEDULE, generator=draws)
    assert float(z_t.mean()) == pytest.approx(float(SCHEDULE.alpha(700) * 1.5), abs=0.01)
    assert float(z_t.std()) == pytest.approx(float(SCHEDULE.sigma(700)), rel=0.01)


def test_clean_records_give_the_usual_objective():
    z = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([10, 900])
    z_t, eps, s = renoise(z, torch.tensor([-1, -1]), t, SCHEDULE, generator=torch.Generator().manual_seed(2))
    alpha, sigma = (x.view(-1, 1, 1, 1) for x in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    assert torch.allclose(z_t, alpha * z + sigma * eps)
    assert torch.allclose(sealed_loss(torch.zeros_like(z), eps, s, t, SCHEDULE), eps.square().mean(dim=(1, 2, 3)))


def test_no_signal_below_the_seal_step():
    z = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match="above its n"):
        renoise(z, torch.tensor([500]), torch.tensor([500]), SCHEDULE, generator=torch.Generator())


def test_t_is_uniform_above_n():
    n = torch.full((20_000,), 899)
    t = draw_t(n, 1000, generator=torch.Generator().manual_seed(0))
    assert int(t.min()) == 900 and int(t.max()) == 999
    counts = torch.bincount(t - 900, minlength=100)
    assert int(counts.min()) > 150 and int(counts.max()) < 250


def test_an_unknown_prediction_type_is_refused():
    with pytest.raises(ValueError, match="epsilon or v_prediction"):
        eps_from(torch.zeros(1), torch.zeros(1), torch.tensor([0]), SCHEDULE, "sample")
