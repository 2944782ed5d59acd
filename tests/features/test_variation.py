"""A variation depends on the seed and the place alone, and each kind changes what it says and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.core.errors import UserError
from sfumato.features.variation import KINDS, kinds_of, vary

SIDE = 32


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Six coloured pictures of few, large patches."""
    patches = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    return np.kron(patches, np.ones((1, 8, 8, 1), np.uint8))


@pytest.fixture(scope="module")
def drawing() -> np.ndarray:
    """The same black line on white, as often as draws have a chance to differ."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[14:18, 4:28] = 0
    return np.repeat(image[None], 24, axis=0)


@pytest.mark.parametrize("kinds", [(), *((kind,) for kind in KINDS)])
def test_a_variation_is_of_the_seed_and_the_place_alone(images: np.ndarray, kinds: tuple[str, ...]) -> None:
    before = images.copy()
    whole = vary(images, kinds, seed=5)
    assert np.array_equal(images, before) and whole.dtype == np.uint8 and whole.shape == images.shape
    assert np.array_equal(whole, vary(images, kinds, seed=5))
    others = images[::-1].copy()
    others[3] = images[3]
    assert np.array_equal(vary(others, kinds, seed=5)[3], whole[3])  # whatever stands beside it
    assert np.array_equal(vary(images[:4], kinds, seed=5), whole[:4])
    same = np.repeat(images[:1], 12, axis=0)
    places = vary(same, kinds, seed=5)
    assert len({one.tobytes() for one in places}) > 1
    assert not np.array_equal(vary(same, kinds, seed=6), places)


@pytest.mark.parametrize("kinds", [(), *((kind,) for kind in KINDS)])
def test_no_strength_is_the_picture_itself(images: np.ndarray, kinds: tuple[str, ...]) -> None:
    kept = vary(images, kinds, seed=1, strength=0.0)
    assert np.array_equal(kept, images) and kept is not images
    assert vary(images[:0], kinds, seed=1).shape == (0, SIDE, SIDE, 3)


def test_hue_leaves_greys_and_brightness_as_they_are(images: np.ndarray) -> None:
    greys = np.arange(256, dtype=np.uint8).repeat(4).reshape(1, SIDE, SIDE, 1).repeat(3, axis=-1)
    assert np.array_equal(vary(greys.repeat(4, axis=0), ("hue",), seed=0), greys.repeat(4, axis=0))
    turned = vary(images, ("hue",), seed=0)
    assert not np.array_equal(turned, images)
    for extreme in (np.max, np.min):  # an angle moves neither the largest nor the smallest channel of a pixel
        assert np.abs(extreme(turned, -1).astype(int) - extreme(images, -1)).max() <= 3


def test_a_hue_that_is_not_turned_is_not_rounded(images: np.ndarray) -> None:
    faint = vary(images, ("hue",), seed=0, strength=1e-3)  # less than one step of the circle
    assert np.array_equal(faint, images)


def test_warp_and_elastic_move_points_and_make_no_new_values(images: np.ndarray, drawing: np.ndarray) -> None:
    plain = np.full((3, SIDE, SIDE, 3), (10, 120, 240), np.uint8)
    for kind in ("warp", "elastic"):
        assert np.array_equal(vary(plain, (kind,), seed=0), plain)
        moved = vary(drawing, (kind,), seed=0)
        assert (moved != drawing).any(axis=(1, 2, 3)).all()
        weak, strong = (np.abs(vary(drawing, (kind,), seed=0, strength=by).astype(int) - drawing).mean() for by in (0.2, 1.0))
        assert 0 < weak < strong


def test_lines_become_thicker_or_thinner_or_stay(drawing: np.ndarray) -> None:
    dark = (vary(drawing, ("line",), seed=0)[..., 0] == 0).sum(axis=(1, 2))
    before = (drawing[0, ..., 0] == 0).sum()
    assert {int(np.sign(one - before)) for one in dark} == {-1, 0, 1}


def test_kinds_compose_in_their_own_order(images: np.ndarray) -> None:
    assert np.array_equal(vary(images, ("hue", "warp"), seed=2), vary(images, ("warp", "hue"), seed=2))
    assert np.array_equal(vary(images, tuple(KINDS), seed=2), vary(images, seed=2))
    greys = images[..., :1].repeat(3, axis=-1)
    warped = vary(greys, ("warp",), seed=2)
    assert np.array_equal(vary(greys, ("warp", "hue"), seed=2), warped)  # hue adds nothing to greys ...
    both = vary(images, ("warp", "hue"), seed=2)
    value = np.abs(both.max(-1).astype(int) - vary(images, ("warp",), seed=2).max(-1))
    assert value.max() <= 3 and not np.array_equal(both, vary(images, ("warp",), seed=2))  # ... and to colours no other shape


def test_kinds_are_named_as_an_option_has_them() -> None:
    assert kinds_of("all") == tuple(KINDS) and kinds_of("warp+hue") == ("warp", "hue")


@pytest.mark.parametrize("words", ["", "twirl", "warp+twirl", "warp hue"])
def test_unknown_kinds_are_answered_with_the_known(words: str) -> None:
    with pytest.raises(UserError, match="variation") as refused:
        kinds_of(words)
    assert all(kind in refused.value.expected for kind in KINDS)


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_no_such_strength(images: np.ndarray, strength: float) -> None:
    with pytest.raises(UserError, match="strength"):
        vary(images, seed=0, strength=strength)
