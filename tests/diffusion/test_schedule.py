import pytest
import torch

from sfumato.diffusion.schedule import CLEAN, Schedule


@pytest.fixture
def schedule():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return Schedule((1 - betas).cumprod(0))


def test_alpha_and_sigma_are_on_the_circle(schedule):
    t = torch.tensor([CLEAN, 0, 500, 999])
    assert torch.allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(4, dtype=torch.float64))


def test_none_is_clean_and_index_zero_is_not(schedule):
    assert schedule.alpha(None) == 1 and schedule.sigma(None) == 0
    assert 0 < schedule.sigma(0) < 0.1


def test_stable_diffusions_last_step(schedule):
    assert float(schedule.alpha_bar[-1]) == pytest.approx(0.00466, abs=1e-5)


@pytest.mark.parametrize("t", [-2, 1000])
def test_steps_outside_are_refused(schedule, t):
    with pytest.raises(ValueError, match=r"expected 0 \.\.\. 999"):
        schedule.alpha(t)


@pytest.mark.parametrize("bar", [[0.9, 0.9], [0.5, 0.9], [0.9, 0.0], [1.0, 0.5]])
def test_a_schedule_that_cannot_seal_is_refused(bar):
    with pytest.raises(ValueError, match="alpha_bar"):
        Schedule(torch.tensor(bar))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_added_at_one_step_or_at_each_ones_own(schedule, dtype):
    draws = torch.Generator().manual_seed(0)
    z_0, eps = (torch.randn((4, 2, 3, 3), generator=draws, dtype=dtype) for _ in range(2))
    t = torch.tensor([CLEAN, 0, 500, 999])
    z_t = schedule.add_noise(z_0, t, eps)
    assert z_t.dtype == dtype and torch.equal(z_t[0], z_0[0])
    for row, step in enumerate(t.tolist()):
        by_hand = float(schedule.alpha(step)) * z_0[row] + float(schedule.sigma(step)) * eps[row]
        assert torch.allclose(z_t[row], by_hand, atol=1e-6)
        assert torch.equal(schedule.add_noise(z_0, step, eps)[row], z_t[row])
    twice = schedule.add_noise(z_0, t.expand(3, 4), eps)
    assert twice.shape == (3, 4, 2, 3, 3) and torch.equal(twice[2], z_t)
    assert torch.equal(schedule.add_noise(z_0, None, eps), z_0)
