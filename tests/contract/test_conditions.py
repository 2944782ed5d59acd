"""What every registered condition extractor must keep to."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.pictures import avatars

NAMES = registry.names("conditions")
EXTRACTORS = [name for name in NAMES if not getattr(registry.get("conditions", name), "SUPPLIED", False)]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return avatars.picture("open-peeps", "public", 0, seed=3).image


def test_the_known_ones_are_registered() -> None:
    assert {"canny", "scribble", "given"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name: str) -> None:
    assert isinstance(registry.get("conditions", name).DESCRIPTION, str)


@pytest.mark.parametrize("name", EXTRACTORS)
@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_shape_and_dtype(name: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    condition = registry.get("conditions", name).extract(image)
    assert condition.shape == image.shape and condition.dtype == np.uint8


@pytest.mark.parametrize("name", EXTRACTORS)
def test_is_deterministic_and_leaves_the_picture_alone(name: str, image: np.ndarray) -> None:
    before = image.copy()
    before.flags.writeable = False  # a read-only picture is fine too
    first, second = (registry.get("conditions", name).extract(before) for _ in range(2))
    assert np.array_equal(first, second) and np.array_equal(before, image)
    assert 0.01 < (first > 127).mean() < 0.8


@pytest.mark.parametrize("name", EXTRACTORS)
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_picture_has_no_condition(name: str, grey: int) -> None:
    condition = registry.get("conditions", name).extract(np.full((64, 64, 3), grey, np.uint8))
    assert (condition > 0).mean() < 0.01


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(EXTRACTORS)))
def test_a_supplied_condition_says_so(name: str, image: np.ndarray) -> None:
    with pytest.raises(UserError, match="comes with the folder"):
        registry.get("conditions", name).extract(image)
