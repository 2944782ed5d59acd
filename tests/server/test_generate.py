"""Pixels, batches and conditions of ``generate``."""

from itertools import chain

import numpy as np
import pytest
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion.base import to_pixels
from sfumato.diffusion.controlnet import new_controlnet
from sfumato.server import generate as drawing
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


@pytest.mark.parametrize("first", [0, 2])
def test_blocks_that_are_drawn_together_are_those_that_are_drawn_one_after_another(base, controlnet, monkeypatch, first):
    """As where the device is not busy with one: the noise is the same to the bit, and so is which condition belongs to which picture."""
    monkeypatch.setattr(drawing, "BATCH", 3)
    seen, real = [], drawing.sample

    def watched(base, said, *, start, **how):
        z_0 = real(base, said, start=start, **how)
        seen[-1].append((said, start[0], z_0))
        return z_0

    monkeypatch.setattr(drawing, "sample", watched)
    count, latents = 8, torch.randn(8, 4, 8, 8, generator=generator(4))  # two whole blocks and a part of one
    how = {"seed": 3, "steps": 2, "first": first, "controlnet": controlnet, "settings": SETTINGS, "conditions": latents}
    for together in (False, True):
        monkeypatch.setattr(drawing, "blocks", lambda device, together=together: 2 if together else 1)
        seen.append([])
        told = []
        pictures = generate(base, [f"a{'b' * i}" for i in range(count)], on_step=lambda *x, told=told: told.append(x), **how)
        assert pictures.shape == (count, 32, 32, 3) and told[-1] == (2 * len(seen[-1]), 2 * len(seen[-1]))
    single, many = seen
    assert [len(said) for said, *_ in single] == [3, 3, 2] and [len(said) for said, *_ in many] == [6, 2]
    said, noise, z_0 = ([[part[k] for part in one] for one in seen] for k in range(3))
    assert list(chain(*said[0])) == list(chain(*said[1])) and torch.equal(torch.cat(noise[0]), torch.cat(noise[1]))
    assert torch.allclose(torch.cat(z_0[0]), torch.cat(z_0[1]), atol=1e-4)
    for k, start in enumerate(noise[0]):  # of the seed and the block's number alone
        assert torch.equal(start, torch.randn(start.shape, generator=generator(3, first + k)))


def test_only_a_device_with_room_draws_several_blocks_together():
    assert drawing.blocks(torch.device("cpu")) == 1 and drawing.blocks(torch.device("cuda")) == drawing.BLOCKS > 1
