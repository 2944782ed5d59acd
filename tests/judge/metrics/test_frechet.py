from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from sfumato.core.errors import UserError
from sfumato.judge.metrics.frechet import frechet_distance


def _sample(n: int = 400, d: int = 6, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((n, d)) @ draw.standard_normal((d, d)) + draw.standard_normal(d)


def test_a_set_has_no_distance_from_itself() -> None:
    assert frechet_distance(_sample(), _sample()) == pytest.approx(0, abs=1e-9)


def test_a_shift_counts_its_square() -> None:
    assert frechet_distance(_sample(), _sample() + 3.0) == pytest.approx(6 * 9.0)


def test_axis_aligned_gaussians() -> None:
    white = _sample()
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T  # covariance exactly 1
    a, b = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 2, 1, 4, 9, 0])
    assert frechet_distance(white * a, white * b + 1) == pytest.approx(6 + np.square(a - b).sum())


def test_equals_the_matrix_square_root_and_is_symmetric() -> None:
    a, b = _sample(seed=1), _sample(seed=2)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected) == frechet_distance(b, a)


def test_fewer_pictures_than_features() -> None:
    a = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a[::-1] + 1) == pytest.approx(64, rel=1e-5)


def test_one_picture_or_other_features_are_refused() -> None:
    for a, b in ((_sample()[:1], _sample()), (_sample(), _sample()[:, :3])):
        with pytest.raises(UserError):
            frechet_distance(a, b)
