import numpy as np
import pytest
import torch

from sfumato.core.randomness import InsecureNoise, SecureNoise
from sfumato.defences import latent_clip, sealed_noise
from sfumato.diffusion.schedule import Schedule

SCHEDULE = Schedule((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0))


def test_unsealed_is_the_picture_itself():
    z = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sealed_noise.apply(z, None, SCHEDULE, noise=SecureNoise()).float(), z)


@pytest.mark.parametrize("step", [0, 400, 999])
def test_mean_and_variance_are_as_declared(step):
    z = torch.full((50, 4, 16, 16), 2.0)
    sealed = sealed_noise.apply(z, step, SCHEDULE, noise=SecureNoise())
    assert sealed.dtype == torch.float64
    assert float(sealed.mean()) == pytest.approx(float(SCHEDULE.alpha(step) * 2), abs=0.03)
    assert float(sealed.std()) == pytest.approx(float(SCHEDULE.sigma(step)), rel=0.02)


def test_secure_noise_is_normal_and_never_repeats():
    first, second = (SecureNoise().normal((100_001,)).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    for moment, wanted in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert np.mean(first**moment) == pytest.approx(wanted, abs=0.15)
    assert np.isfinite(first).all() and abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.02


def test_secure_permutation_is_one():
    assert sorted(SecureNoise().permutation(100)) == list(range(100))
    assert SecureNoise().permutation(100) != SecureNoise().permutation(100)


def test_insecure_noise_repeats_and_says_so():
    assert torch.equal(InsecureNoise(1).normal((5,)), InsecureNoise(1).normal((5,)))
    assert not InsecureNoise(1).secure and SecureNoise.secure


def test_clip_bounds_and_leaves_small_ones_alone():
    z = torch.stack([torch.full((4, 2, 2), 10.0), torch.full((4, 2, 2), 0.1)])
    clipped = latent_clip.apply(z, 3.0)
    assert float(clipped[0].norm()) == pytest.approx(3.0) and torch.equal(clipped[1], z[1])
    assert torch.equal(latent_clip.apply(z, None), z)
    assert torch.allclose(clipped[0] / clipped[0].norm(), z[0] / z[0].norm())


def test_measured_sensitivity_is_within_the_clip():
    z = 5 * torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    clipped = latent_clip.apply(z, 2.0).flatten(1)
    assert float(torch.cdist(clipped, clipped).max()) <= 2 * 2.0 + 1e-5


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_a_senseless_clip_is_refused(clip):
    with pytest.raises(ValueError, match="positive"):
        latent_clip.apply(torch.zeros(1, 4, 2, 2), clip)
