"""Dithered rounding: no value moves on average, the variance is as declared, and what fits comes back."""

import pytest
import torch

from sfumato.core.randomness import InsecureNoise
from sfumato.defences import dithered_int8
from sfumato.records.record import LEVELS, restore


@pytest.mark.parametrize("value", [-7.9, -1.03, 0.0, 0.02, 0.5, 3.999])
def test_unbiased_with_the_declared_variance(value):
    draws = 40_000
    back = restore(dithered_int8.apply(torch.full((draws,), value, dtype=torch.float64), noise=InsecureNoise(0)))
    assert back.dtype == torch.float32 and float((back - value).abs().max()) < 1 / LEVELS
    part = value * LEVELS % 1
    wanted = part * (1 - part) / LEVELS**2
    assert float(back.mean()) == pytest.approx(value, abs=5 * (wanted / draws) ** 0.5 + 1e-6)
    assert float(back.double().var()) == pytest.approx(wanted, rel=0.05, abs=1e-12) and wanted <= 1 / (4 * LEVELS**2)


def test_what_does_not_fit_is_cut_and_nothing_wraps():
    far = torch.tensor([-100.0, -8.01, 7.99, 100.0], dtype=torch.float64)
    assert restore(dithered_int8.apply(far, noise=InsecureNoise(1)))[[0, 3]].tolist() == [-8.0, 127 / LEVELS]


def test_half_precision_is_restored_as_it_is():
    x = torch.randn(10, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(restore(x), x.float())
