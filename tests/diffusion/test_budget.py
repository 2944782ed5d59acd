"""Batches by a budget of memory: how many, and that they change nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion import budget
from sfumato.diffusion.attention import usual
from sfumato.diffusion.base import load_base
from sfumato.diffusion.sampling import sample
from sfumato.diffusion.shapes import sd15_base
from sfumato.server.generate import generate
from tests_support import acting_controlnet


@pytest.fixture(scope="module")
def sd15():
    with torch.device("meta"):
        return sd15_base()


@pytest.mark.parametrize(("each", "expected"), [(0, 32), (1, 32), (budget.BYTES // 5, 5), (budget.BYTES, 1), (100 * budget.BYTES, 1)])
def test_as_many_as_fit_and_at_least_one(each, expected):
    assert budget.pieces(each) == expected


def test_the_tiny_base_takes_what_it_always_took():
    tiny = load_base()
    assert budget.pieces(budget.encoding(tiny.vae, tiny.size**2)) == budget.pieces(budget.decoding(tiny.vae, tiny.size**2)) == 32
    assert budget.pieces(budget.denoising(tiny.unet, tiny.side, guided=True)) == 32


def test_stable_diffusion_takes_one_large_picture_or_several_small_ones(sd15):
    large, small = (budget.encoding(sd15.vae, side**2) for side in (512, 128))
    assert large == 16 * small and budget.pieces(large) == 1 < budget.pieces(small)
    assert budget.pieces(budget.decoding(sd15.vae, 512**2)) == 1


def test_guidance_and_scores_count(sd15):
    unet = sd15.unet
    plain, guided = (budget.denoising(unet, 64, guided=guided) for guided in (False, True))
    assert guided == 2 * plain
    tiny = load_base().unet  # of plain attention
    with_scores = budget.denoising(tiny, 16, guided=False)
    before = tiny.attn_processors
    usual(tiny)
    assert with_scores - budget.denoising(tiny, 16, guided=False) == 4 * 2 * 256**2 * tiny.config.attention_head_dim
    tiny.set_attn_processor(before)
    assert budget.denoising(SimpleNamespace(), 16, guided=True) == 0


def test_pixels_do_not_depend_on_the_budget(base, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    sizes, encode = [], type(base).encode
    monkeypatch.setattr(type(base), "encode", lambda self, x: sizes.append(len(x)) or encode(self, x))
    whole = base.encode_pixels(images)
    drawn = base.decode_pixels(whole)
    monkeypatch.setattr(budget, "BYTES", 2 * budget.encoding(base.vae, 32**2))
    assert torch.allclose(base.encode_pixels(images), whole, atol=1e-5)
    assert sizes == [5, 2, 2, 1]
    assert abs(base.decode_pixels(whole).astype(int) - drawn).max() <= 1


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("guidance", "captioned"), [(3.0, False), (3.0, True), (1.0, False)])
def test_latents_do_not_depend_on_the_budget(base, monkeypatch, guidance, captioned, eta):
    net, condition = acting_controlnet(base), torch.randn(5, 4, 8, 8, generator=generator(1))
    sizes = []

    def draw():
        handle = base.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        with handle:
            return sample(
                base, list("abcde"), generator=generator(0), controlnet=net, condition=condition, captioned=captioned, guidance=guidance,
                steps=2, eta=eta,
            )  # fmt: skip

    whole = draw()
    monkeypatch.setattr(budget, "BYTES", 2 * budget.denoising(base.unet, 8, guided=guidance != 1))
    twice = 2 if guidance != 1 else 1
    assert torch.allclose(draw(), whole, atol=1e-4) and sizes == [5 * twice] * 2 + [2 * twice, 2 * twice, twice] * 2


def test_a_picture_is_its_seeds_whatever_fits(base, monkeypatch):
    told = []
    whole = generate(base, ["a"] * 34, seed=3, steps=1)
    monkeypatch.setattr(budget, "BYTES", 1)
    alone = generate(base, ["a"] * 34, seed=3, steps=1, on_step=lambda done, total: told.append((done, total)))
    assert abs(alone.astype(int) - whole).max() <= 1 and told == [(1, 2), (2, 2)]
