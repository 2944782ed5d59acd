from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from sfumato.core.errors import UserError
from sfumato.judge.metrics.probes import background_agreement, fit_probes, wilson
from sfumato.pictures import avatars


def _toy(n: int, seed: int) -> tuple[np.ndarray, list[dict[str, str]]]:
    draw = np.random.default_rng(seed)
    skin, noise = draw.integers(3, size=n), draw.integers(2, size=n)
    features = draw.standard_normal((n, 12)) * 10
    features[:, :3] += 60 * np.eye(3)[skin]
    return features, [{"skin": "abc"[s], "chance": "xy"[c]} for s, c in zip(skin, noise, strict=True)]


def test_probes_find_what_is_there_and_nothing_else() -> None:
    probes = fit_probes(*_toy(300, 0), ["skin", "chance"])
    accuracy = probes.accuracy(*_toy(300, 1))
    assert accuracy["skin"][0] > 0.95
    assert accuracy["chance"][1] < 0.55 and accuracy["chance"][2] > 0.45
    assert all(low < mean <= high for mean, low, high in accuracy.values())


def test_a_value_never_seen_is_a_miss() -> None:
    features, attributes = _toy(50, 2)
    probes = fit_probes(*_toy(300, 0), ["skin"])
    assert probes.accuracy(features, [{"skin": "other"} for _ in attributes])["skin"][0] == 0


def test_a_constant_attribute_is_refused() -> None:
    features, attributes = _toy(20, 0)
    with pytest.raises(UserError, match="1 value"):
        fit_probes(features, [{"skin": "a"} for _ in attributes], ["skin"])
    with pytest.raises(UserError, match="20 pictures, 3"):
        fit_probes(features, attributes[:3], ["skin"])


def test_backgrounds_of_real_pictures_agree() -> None:
    pictures = [avatars.picture(style, "public", i, seed=0) for style in ("open-peeps", "big-ears") for i in range(12)]
    images, wanted = np.stack([p.image for p in pictures]), [p.attributes["background"] for p in pictures]
    assert background_agreement(images, wanted).all()
    assert not background_agreement(images, ["teal" if w != "teal" else "red" for w in wanted]).any()


def test_background_survives_noise_and_a_person() -> None:
    image = np.full((32, 32, 3), ImageColor.getrgb(avatars.BACKGROUNDS["pink"]), float) + np.random.default_rng(0).normal(0, 8, (32, 32, 3))
    image[20:, 4:28] = 0
    assert background_agreement(np.clip(image, 0, 255).astype(np.uint8)[None], ["pink"]).all()


def test_unknown_background_is_refused() -> None:
    with pytest.raises(UserError, match="'mauve'"):
        background_agreement(np.zeros((1, 8, 8, 3), np.uint8), ["mauve"])


def test_wilson_against_published_values() -> None:
    assert wilson(15, 148) == pytest.approx((0.10135, 0.0624, 0.1605), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 20) == pytest.approx((0, 0, 0.1611), abs=1e-4)  # the same
    with pytest.raises(UserError):
        wilson(0, 0)
