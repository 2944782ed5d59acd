from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from sfumato.pictures import fill50k

SHAPES = [fill50k.shape(i, seed=0) for i in range(20)]


@pytest.mark.parametrize("shape", SHAPES)
def test_circle_and_ground_have_the_colours_of_the_caption(shape: fill50k.Shape) -> None:
    assert shape.caption == f"{fill50k.colour_words(shape.circle)} circle with {fill50k.colour_words(shape.ground)} background"
    inside, on_line = filled(shape.condition), shape.condition.max(-1) > 0
    assert (shape.image[inside] == ImageColor.getrgb(shape.circle)).all()
    assert (shape.image[~inside & ~on_line] == ImageColor.getrgb(shape.ground)).all()


def filled(outline: np.ndarray) -> np.ndarray:
    """The pixels within a circle drawn as an outline that may be cut by the frame: those with line on most sides."""
    line = outline.max(-1) > 0
    left, right = np.maximum.accumulate(line, 1), np.maximum.accumulate(line[:, ::-1], 1)[:, ::-1]
    above, below = np.maximum.accumulate(line, 0), np.maximum.accumulate(line[::-1], 0)[::-1]
    return ~line & (left.astype(int) + right + above + below >= 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_condition_is_a_thin_white_line_on_black(shape: fill50k.Shape) -> None:
    assert shape.image.shape == shape.condition.shape == (64, 64, 3)
    assert shape.image.dtype == shape.condition.dtype == np.uint8
    assert np.array_equal(shape.condition[..., 0], shape.condition[..., 2])  # grey
    assert 0.005 < (shape.condition > 0).mean() < 0.15
    assert shape.condition.max() > 150


def test_a_stream_is_deterministic_and_depends_on_its_seed() -> None:
    again, other = fill50k.shape(3, seed=0), fill50k.shape(3, seed=1)
    assert np.array_equal(SHAPES[3].image, again.image) and SHAPES[3].caption == again.caption
    assert not np.array_equal(again.image, other.image)


def test_colour_names_are_split_into_words() -> None:
    examples = {
        "palegoldenrod": "pale golden rod", "oldlace": "old lace", "mediumspringgreen": "medium spring green", "gold": "gold",
        "whitesmoke": "white smoke", "darkslategrey": "dark slate grey", "lavender": "lavender", "cornflowerblue": "cornflower blue",
        "goldenrod": "golden rod", "seagreen": "sea green", "orangered": "orange red", "orange": "orange", "limegreen": "lime green",
    }  # fmt: skip
    assert {name: fill50k.colour_words(name) for name in examples} == examples


def test_words_spell_the_name_and_are_few() -> None:
    words = {name: fill50k.colour_words(name) for name in ImageColor.colormap}
    assert all(text.replace(" ", "") == name for name, text in words.items())
    vocabulary = {word for text in words.values() for word in text.split()}
    assert len(vocabulary) < len(words) and min(map(len, vocabulary)) >= 3
    assert max(map(len, vocabulary)) <= 10  # "cornflower", "aquamarine", "chartreuse", "aquamarine": no unsplit compound
