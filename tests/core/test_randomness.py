"""Draws that take everybody in turn."""

import pytest

from sfumato.core.randomness import evenly, generator


@pytest.mark.parametrize(("count", "size"), [(5, 3), (5, 5), (3, 8), (1, 4)])
def test_nobody_is_drawn_again_before_everybody_was(count, size):
    drawn = evenly(count, size, generator(0)).tolist()
    times = [drawn.count(i) for i in range(count)]
    assert len(drawn) == size and sum(times) == size and max(times) - min(times) <= 1
    assert drawn == evenly(count, size, generator(0)).tolist()
