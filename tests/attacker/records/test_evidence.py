"""What leaked is reduced to one look without loss: means, variances and exact recoveries."""

import pytest
import torch

from sfumato.attacker.knowledge import Conditions, Latents, Mixed, Noise, Scenario
from sfumato.attacker.records import _evidence as evidence
from sfumato.core.randomness import generator
from sfumato.diffusion.base import load_base
from sfumato.diffusion.controlnet import one_way_input

SCHEDULE = load_base().schedule


def released(z_0, steps, seed=0):
    """K releases of ``z_0`` at ``steps`` ``(K,)``, and the noise in them."""
    eps = torch.randn((len(steps), *z_0.shape), generator=generator(seed))
    n = torch.tensor(steps)[:, None].expand(-1, len(z_0)).contiguous()
    alpha, sigma = (f(n).float().view(*n.shape, 1, 1, 1) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
    return Latents(alpha * z_0 + sigma * eps, n), eps


def test_one_release_is_the_record_brought_to_scale():
    z_0 = torch.randn(3, 4, 8, 8, generator=generator(1))
    latents, eps = released(z_0, [600])
    x, v = evidence.pooled(latents.z, latents.n, SCHEDULE)
    alpha, sigma = float(SCHEDULE.alpha(600)), float(SCHEDULE.sigma(600))
    assert torch.allclose(x, z_0 + sigma / alpha * eps[0], atol=1e-5)
    assert v.tolist() == pytest.approx([(sigma / alpha) ** 2] * 3)


@pytest.mark.parametrize("steps", [[600], [600, 600, 600, 600], [200, 900], [100, 500, 999]])
def test_the_noise_that_is_left_has_the_declared_variance(steps):
    z_0 = torch.randn(50, 4, 16, 16, generator=generator(1))
    latents, _ = released(z_0, steps)
    x, v = evidence.pooled(latents.z, latents.n, SCHEDULE)
    left = x - z_0
    assert float(left.mean()) == pytest.approx(0, abs=5 * float(v[0]) ** 0.5 / left.numel() ** 0.5)
    assert float(left.var()) == pytest.approx(float(v[0]), rel=0.02)
    one = [float((SCHEDULE.sigma(n) / SCHEDULE.alpha(n)) ** 2) for n in steps]
    assert float(v[0]) == pytest.approx(1 / sum(1 / ratio for ratio in one), rel=1e-5)


@pytest.mark.parametrize("steps", [[0], [999], [999, 700], [0, 999]])
def test_where_the_noise_travels_the_picture_is_exact(steps):
    z_0 = torch.randn(3, 4, 8, 8, generator=generator(1))
    latents, eps = released(z_0, steps)
    seen = evidence.see(Scenario(latents, Noise(eps)), SCHEDULE)
    assert float((seen.x - z_0).norm() / z_0.norm()) < 1e-3 and float(seen.v.max()) < 1e-5 and seen.y is None


@pytest.mark.parametrize("activation", ["symsigmoid", "identity"])
def test_activations_are_inverted(activation):
    x = torch.linspace(-6, 6, 101)
    h = evidence.ACTIVATIONS[activation](x)
    assert torch.allclose(evidence.inverse(h, activation), x, atol=2e-3)
    assert torch.equal(evidence.inverse(torch.zeros(4), activation).abs() < 1e-3, torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize("activation", ["symsigmoid", "identity"])
def test_the_condition_comes_out_of_h_without_eps(activation):
    z_0, c = torch.randn(2, 5, 4, 8, 8, generator=generator(2))
    latents, _ = released(z_0, [300, 700, 900])
    h = torch.stack([one_way_input(c, z_t, activation).half() for z_t in latents.z])
    seen = evidence.see(Scenario(latents, Mixed(h, activation)), SCHEDULE)
    assert float((seen.y - c).norm() / c.norm()) < 5e-3


def test_conditions_are_pooled_like_pictures():
    c = torch.randn(40, 4, 8, 8, generator=generator(3))
    latents, _ = released(c, [900])
    noised, _ = released(c, [200, 200], seed=4)
    seen = evidence.see(Scenario(latents, Conditions(noised.z, noised.n)), SCHEDULE)
    assert float((seen.y - c).var()) == pytest.approx(float(seen.w[0]), rel=0.05) and float(seen.w[0]) < float(seen.v[0])


def test_clean_latents_are_taken_as_they_are():
    z = torch.randn(1, 3, 4, 8, 8, generator=generator(5))
    seen = evidence.see(Scenario(Latents(z, torch.full((1, 3), -1))), SCHEDULE)
    assert torch.allclose(seen.x, z[0]) and float(seen.v.max()) <= 1e-6


def test_the_step_of_a_variance_is_the_one_that_it_was_made_at():
    for n in (0, 1, 250, 600, 999):
        v = ((SCHEDULE.sigma(n) / SCHEDULE.alpha(n)) ** 2).float()[None]
        assert abs(int(evidence.step_of(v, SCHEDULE)[0]) - n) <= 1
    assert int(evidence.step_of(torch.tensor([1e9]), SCHEDULE)[0]) == SCHEDULE.steps - 1


def test_groups_hold_every_row_once():
    v, w = torch.tensor([1.0, 2, 1, 2, 1]), torch.tensor([0.0, 0, 0, 1, 0])
    rows = evidence.groups(v, w)
    assert sorted(tuple(g.tolist()) for g in rows) == [(0, 2, 4), (1,), (3,)]
