from __future__ import annotations

import numpy as np

from sfumato.conditions import canny


def test_outlines_a_square_white_on_black() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:24, 8:24] = 255
    edges = canny.extract(image)
    assert set(np.unique(edges)) == {0, 255}
    assert edges[16, 6:10].max() == 255 and edges[16, 16].max() == 0
    assert np.array_equal(edges[..., 0], edges[..., 2])


def test_higher_thresholds_keep_fewer_edges() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert canny.extract(image, low=400, high=800).sum() < canny.extract(image).sum()
