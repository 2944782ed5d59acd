"""Pixels, batches and conditions of ``generate``."""

import numpy as np
import pytest
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion.base import to_pixels
from sfumato.diffusion.controlnet import new_controlnet
from sfumato.server.generate import BATCH, generate

SETTINGS = {"condition_scale": 0.5, "context": "zeros", "control_guidance_end": 1.0}


@pytest.fixture(scope="module")
def controlnet(base):
    """A ControlNet that does something."""
    model = new_controlnet(base, generator=generator(0))
    draws = generator(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
    return model.eval().requires_grad_(False)


@pytest.fixture
def conditions():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_pixels_are_rounded_and_clamped():
    values = torch.tensor([-2.0, -1.0, -1 / 255, 0.0, 1.0, 2.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_pixels(values)[0, 0, :, 0].tolist() == [0, 0, 127, 128, 255, 255]


def test_every_pixel_value_survives():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert np.array_equal(to_pixels(images), pixels)


def test_more_prompts_do_not_change_the_first_batch(base):
    few, many = (generate(base, ["a"] * n, seed=3, steps=1) for n in (BATCH, BATCH + 2))
    assert np.array_equal(few, many[:BATCH]) and many.shape == (BATCH + 2, 32, 32, 3) and many.dtype == np.uint8
    assert not np.array_equal(many[BATCH], many[0])


def test_progress_counts_every_step_of_every_batch(base):
    told = []
    generate(base, ["a"] * (BATCH + 1), seed=0, steps=2, on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_conditions_are_encoded_and_scaled_and_latents_are_taken_as_they_are(base, controlnet, conditions):
    arguments = {"seed": 0, "steps": 2, "controlnet": controlnet, "settings": SETTINGS}
    encoded = base.encode_pixels(conditions)
    shown = generate(base, ["a"] * 3, conditions=conditions, **arguments)
    assert np.array_equal(shown, generate(base, ["a"] * 3, conditions=0.5 * encoded, **arguments))
    assert not np.array_equal(shown, generate(base, ["a"] * 3, conditions=encoded, **arguments))


def test_without_a_condition_the_controlnet_is_silent(base, controlnet):
    plain = generate(base, ["a"], seed=0, steps=2)
    assert np.array_equal(plain, generate(base, ["a"], seed=0, steps=2, controlnet=controlnet, settings=SETTINGS))


def test_each_picture_follows_its_own_condition(base, controlnet, conditions):
    arguments = {"seed": 0, "steps": 2, "controlnet": controlnet, "settings": SETTINGS}
    first = generate(base, ["a"] * 3, conditions=conditions, **arguments)
    conditions[1] = 255 - conditions[1]
    second = generate(base, ["a"] * 3, conditions=conditions, **arguments)
    assert [bool((a != b).any()) for a, b in zip(first, second, strict=True)] == [False, True, False]


def test_half_precision_draws_the_same_picture(base, controlnet, conditions):
    exact, fast = (
        generate(
            base, ["a", "b", "c"], seed=0, controlnet=controlnet, settings=SETTINGS, conditions=conditions, steps=4, precision=precision
        )
        for precision in ("no", "bf16")
    )
    difference = np.abs(exact.astype(float) - fast)
    assert 0 < difference.mean() < 0.1 * exact.std()
