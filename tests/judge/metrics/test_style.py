"""Two plain styles are told apart, and colours are as far apart as they are."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.core.errors import UserError
from sfumato.judge.metrics.style import Style, fit_style, shares

RED, BLUE = (220, 20, 20), (20, 20, 220)


def _plain(colour: tuple[int, int, int], count: int = 6) -> np.ndarray:
    return np.full((count, 8, 8, 3), colour, np.uint8)


def _features(centre: float, count: int = 40, seed: int = 0) -> np.ndarray:
    return centre + np.random.default_rng(seed).standard_normal((count, 5))


@pytest.fixture(scope="module")
def style() -> Style:
    seen = {"round": _features(-3), "square": _features(3, seed=1)}
    return fit_style("square", seen, _features(3, 30, seed=2), _plain(BLUE))


def test_two_styles_are_told_apart_and_the_classifier_says_how_well(style: Style) -> None:
    assert style.accuracy == 1.0
    same = style.score(_features(3, 50, seed=3), _plain(BLUE))
    other = style.score(_features(-3, 50, seed=4), _plain(BLUE))
    assert same["share"]["mean"] == 1.0 and other["share"]["mean"] == 0.0
    for found in (same, other):
        share = found["share"]
        assert 0 <= share["low"] <= share["mean"] <= share["high"] <= 1 and share["n"] == 50 and found["accuracy"] == 1.0
    mixed = np.concatenate([_features(3, 10, seed=5), _features(-3, 30, seed=6)])
    assert style.score(mixed, _plain(BLUE))["share"]["mean"] == 0.25


def test_styles_that_are_the_same_are_told_by_chance_and_it_says_so() -> None:
    seen = {"a": _features(0, 200), "b": _features(0, 200, seed=1)}
    assert 0.2 < fit_style("a", seen, _features(0, 200, seed=2), _plain(RED)).accuracy < 0.8


def test_colours_are_0_apart_from_themselves_and_1_where_none_is_shared(style: Style) -> None:
    features = _features(3, 6)
    assert style.score(features, _plain(BLUE, 6))["colour_distance"] == pytest.approx(0)
    assert style.score(features, _plain(RED, 6))["colour_distance"] == pytest.approx(1)
    half = np.concatenate([_plain(RED, 3), _plain(BLUE, 3)])
    assert style.score(features, half)["colour_distance"] == pytest.approx(0.5)


def test_shares_are_of_pixels_and_add_up_to_one() -> None:
    image = _plain(RED, 1)
    image[0, :2] = BLUE
    found = shares(image)
    assert found.shape == (512,) and found.sum() == pytest.approx(1) and sorted(found[found > 0]) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("seen", [{}, {"a": _features(0)}, {"b": _features(0), "c": _features(1)}])
def test_a_style_needs_others_to_be_told_from(seen: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match="style 'a'"):
        fit_style("a", seen, _features(0), _plain(RED))
