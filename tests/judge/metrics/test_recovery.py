from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from sfumato.core.errors import UserError
from sfumato.judge.metrics.probes import fit_probes
from sfumato.judge.metrics.recovery import BETTER, attribute_hits, perceptual_distance, psnr, scores
from sfumato.judge.metrics.ssim import ssim
from sfumato.pictures import avatars


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _people(n: int) -> np.ndarray:
    return np.stack([avatars.picture("open-peeps", "public", i, seed=0).image for i in range(n)])


def _noisy(images: np.ndarray, scale: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, scale, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def test_psnr_against_scikit_image() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.integers(0, 256, (4, 12, 10, 3), dtype=np.uint8) for _ in range(2))
    assert psnr(a, b) == pytest.approx([peak_signal_noise_ratio(x, y) for x, y in zip(a, b, strict=True)])


def test_psnr_of_equal_and_of_opposite_pictures() -> None:
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert psnr(black, black).tolist() == [100, 100] and psnr(black, black + 255) == pytest.approx([0, 0])
    assert psnr(black, black + 1) == pytest.approx(20 * np.log10([255, 255]))


def test_every_score_falls_with_noise_and_mutates_nothing() -> None:
    images = _people(4)
    before = images.copy()
    found = [scores(_noisy(images, scale), images) for scale in (0, 4, 16, 64)]
    assert set(found[0]) == set(BETTER) and all(values.shape == (4,) for values in found[0].values())
    for name, sign in BETTER.items():
        means = [sign * f[name].mean() for f in found]
        assert means == sorted(means, reverse=True) and means[0] > means[-1]
    assert np.array_equal(images, before)


def test_an_exact_guess_scores_the_best_there_is() -> None:
    images = _people(3)
    found = scores(images, images)
    assert found["psnr"].tolist() == [100] * 3
    assert found["ssim"] == pytest.approx([1] * 3) and found["EffLite0 distance"] == pytest.approx([0] * 3, abs=1e-6)


def test_ssim_is_the_one_of_the_library() -> None:
    images = _people(3)
    other = _noisy(images, 20)
    x, y = (torch.tensor(i).permute(0, 3, 1, 2) for i in (other, images))
    assert scores(other, images)["ssim"] == pytest.approx(ssim(x, y).numpy())


def test_the_distance_is_symmetric_and_per_picture() -> None:
    a, b = _people(4)[:2], _people(4)[2:]
    there, back = perceptual_distance(a, b), perceptual_distance(b, a)
    assert there == pytest.approx(back) and (there > 0.01).all()
    assert perceptual_distance(a[1:], b[1:]) == pytest.approx(there[1:], abs=1e-5)


def test_pictures_are_checked() -> None:
    images = np.zeros((2, 16, 16, 3), np.uint8)
    for wrong in (images[:1], images.astype(float), images[..., :1], images[0]):
        with pytest.raises(UserError, match="uint8 of one shape"):
            psnr(wrong, images)
    with pytest.raises(UserError, match="at least 1"):
        scores(images[:0], images[:0])


def test_attribute_hits() -> None:
    draw = np.random.default_rng(0)
    skin = draw.integers(3, size=400)
    features = draw.standard_normal((400, 6)) + 9 * np.eye(3, 6)[skin]
    attributes = [{"skin": "abc"[s], "hair": "xy"[i % 2]} for i, s in enumerate(skin)]
    probes = fit_probes(features[:200], attributes[:200], ["skin", "hair"])
    hits = attribute_hits(probes, features[200:], attributes[200:])
    assert hits["skin"].dtype == bool and hits["skin"].mean() > 0.95 and 0.35 < hits["hair"].mean() < 0.65
    accuracy = probes.accuracy(features[200:], attributes[200:])
    assert {name: h.mean() for name, h in hits.items()} == pytest.approx({name: a[0] for name, a in accuracy.items()})
    assert set(attribute_hits(probes, features, attributes, ["hair"])) == {"hair"}
    with pytest.raises(UserError, match="no probe for 'cut'"):
        attribute_hits(probes, features, attributes, ["cut"])
    with pytest.raises(UserError, match="400 guesses, 3"):
        attribute_hits(probes, features, attributes[:3])
