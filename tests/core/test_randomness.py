"""Draws that take everybody in turn."""

from itertools import pairwise

import pytest

from sfumato.core.randomness import evenly, generator, spread


@pytest.mark.parametrize(("count", "size"), [(5, 3), (5, 5), (3, 8), (1, 4)])
def test_nobody_is_drawn_again_before_everybody_was(count, size):
    drawn = evenly(count, size, generator(0)).tolist()
    times = [drawn.count(i) for i in range(count)]
    assert len(drawn) == size and sum(times) == size and max(times) - min(times) <= 1
    assert drawn == evenly(count, size, generator(0)).tolist()


def test_what_is_spread_is_as_far_apart_as_can_be():
    chosen = sorted(spread(50, 16))
    assert len(chosen) == 16 and chosen[0] == 0 and {b - a for a, b in pairwise([*chosen, 50])} == {3, 4}
    assert spread(3, 16) == spread(3, None) == {0, 1, 2} and not spread(3, 0) and not spread(0, None)
