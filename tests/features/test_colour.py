from __future__ import annotations

import numpy as np
import pytest

from sfumato.features.colour import colour_histogram


def test_histogram_of_two_colours() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1, :2] = 255
    shares = colour_histogram(images)
    assert shares.shape == (2, 512) and np.square(shares).sum(axis=1) == pytest.approx([1, 1])
    assert shares[0, 0] == 1 and shares[1, -1] == pytest.approx(0.5)


@pytest.mark.parametrize("bins", [2, 5, 8])
def test_where_a_pixel_lies_does_not_matter(bins: int) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    mixed = draw.permutation(images.reshape(3, 48, 3), axis=1).reshape(3, 6, 8, 3)
    assert np.array_equal(colour_histogram(images, bins=bins), colour_histogram(mixed, bins=bins))


def test_no_pictures() -> None:
    assert colour_histogram(np.empty((0, 8, 8, 3), np.uint8)).shape == (0, 512)
