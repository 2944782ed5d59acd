from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from sfumato.core.errors import UserError
from sfumato.judge.metrics.ssim import ssim


def _pair(n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    a = np.cumsum(draw.integers(0, 9, (n, 24, 32, 3)), axis=2).astype(np.uint8)
    return a, np.clip(a + draw.normal(0, 20, a.shape), 0, 255).astype(np.uint8)


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _golden(a: np.ndarray, b: np.ndarray, data_range: float) -> list[float]:
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1, "data_range": data_range}
    return [structural_similarity(x, y, **settings) for x, y in zip(a, b, strict=True)]


def test_uint8_equals_scikit_image() -> None:
    a, b = _pair()
    assert ssim(_tensor(a), _tensor(b)).tolist() == pytest.approx(_golden(a, b, 255), abs=1e-9)


def test_float_equals_scikit_image() -> None:
    a, b = (x.astype(np.float32) / 127.5 - 1 for x in _pair())
    assert ssim(_tensor(a), _tensor(b), data_range=2).tolist() == pytest.approx(_golden(a, b, 2), abs=1e-4)


def test_equal_pictures_score_one() -> None:
    a = _tensor(_pair()[0])
    assert ssim(a, a).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        ssim(torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape, dtype=torch.uint8))


def test_floating_point_needs_a_range() -> None:
    with pytest.raises(UserError, match="no data_range"):
        ssim(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
