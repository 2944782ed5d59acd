"""Sizes of true modules: of a loaded base, and of Stable Diffusion 1.5 without a byte of weights."""

import pytest
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.shapes import sd15, sd15_base, shapes_of


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_a_loaded_bases_shapes_are_those_of_its_tensors(base):
    shapes = shapes_of(base)
    draws = torch.randn(1, *base.latent_shape, generator=generator(0))
    assert shapes.latent == draws.numel() and shapes.pixels == base.size
    assert shapes.activation == base.unet.conv_in(draws).numel() and shapes.context == base.empty_context.numel()
    assert shapes.parameters["unet"] == size(base.unet) and shapes.parameters["conv_in"] == size(base.unet.conv_in)
    assert shapes.parameters["vae_encoder"] < shapes.parameters["vae"] == size(base.vae)


def test_a_controlnets_size_does_not_depend_on_its_weights(base):
    model = nets.new_controlnet(base, generator=generator(3))
    shapes = shapes_of(base)
    assert shapes.parameters["controlnet"] == size(model)
    assert shapes.parameters["entrance"] == size(model.conv_in) + size(model.controlnet_cond_embedding)


def test_stable_diffusion_is_measured_without_weights():
    with torch.device("meta"):
        base = sd15_base()
    assert all(p.is_meta for p in (*base.unet.parameters(), *base.vae.parameters(), *base.text_encoder.parameters()))
    assert (base.size, base.factor, base.latent_shape) == (512, 8, (4, 64, 64)) and not base.schedule.alpha_bar.is_meta


def test_stable_diffusions_controlnet_is_the_usual_one_but_for_its_hint():
    shapes = sd15()
    hint = shapes.parameters["entrance"] - shapes.parameters["conv_in"]
    rgb = (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 96 + 96 * 96 + 96 * 256 + 256 * 320) * 9 + 16 + 16 + 32 + 32 + 96 + 96 + 256 + 320
    assert shapes.parameters["controlnet"] - hint + rgb == 361_279_120  # the size of the published SD 1.5 ControlNets


@pytest.mark.parametrize("side", [8, 16])
def test_words_without_a_vocabulary_still_have_their_shape(side):
    with torch.device("meta"):
        base = sd15_base(side=side)
    assert base.latent_shape == (4, side, side) and base.tokenizer(["a", "b"]).input_ids.shape == (2, 77)
