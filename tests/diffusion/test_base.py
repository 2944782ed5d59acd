import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfumato.core.errors import UserError
from sfumato.diffusion.base import load_base, load_codec
from sfumato.diffusion.sampling import sample
from tests_support import write_pipeline


@pytest.mark.parametrize(("family", "prediction"), [("sd15", "epsilon"), ("sd21", "v_prediction")])
def test_stable_diffusion_shaped_folders_load_and_sample(tmp_path, family, prediction):
    base = load_base(str(write_pipeline(tmp_path / family, family=family)))
    assert base.prediction_type == prediction and base.factor == 8 and base.size == 64
    z = sample(base, ["ab"], generator=torch.Generator().manual_seed(0), steps=2)
    assert z.shape == (1, 4, 8, 8) and bool(z.isfinite().all())


def test_the_owners_half_has_the_same_fingerprint(mini, base):
    codec = load_codec(str(mini))
    assert codec.fingerprint == base.fingerprint and not hasattr(codec, "unet")


def test_another_scaling_factor_is_another_base(mini, base, tmp_path):
    copy = shutil.copytree(mini, tmp_path / "copy")
    config = copy / "vae" / "config.json"
    config.write_text(config.read_text().replace("0.9", "0.8"))
    assert load_codec(str(copy)).fingerprint != base.fingerprint


def test_encode_is_the_scaled_posterior_mean(base):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(base.encode(x), base.vae.encode(x).latent_dist.mean * 0.9)
    assert base.decode(base.encode(x)).shape == x.shape


def test_latents_are_float32_whatever_they_are_computed_in(base):
    pixels = np.random.default_rng(0).integers(0, 255, (3, base.size, base.size, 3), dtype=np.uint8)
    exact = base.encode_pixels(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        rough = base.encode_pixels(pixels)
    assert rough.dtype == exact.dtype == torch.float32 and 0 < (rough - exact).abs().max() < 0.1 * exact.std()


def test_a_folder_that_is_no_pipeline_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="StableDiffusionPipeline"):
        load_base(str(tmp_path))


@pytest.mark.filterwarnings("ignore")  # of the hub client
def test_an_unknown_name_is_explained():
    with pytest.raises(UserError, match="check the spelling"):
        load_base("no/such-base")


def test_guidance_one_and_empty_prompts_agree(base):
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    one, three = (sample(base, [""], generator=g, guidance=w, steps=3) for g, w in zip(draws, (1.0, 3.0), strict=True))
    assert torch.allclose(one, three, atol=1e-4)


def test_decoding_pixels_is_decoding_a_few_at_a_time(base):
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = ((base.decode(latents) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    for batch in (2, 32):
        pixels = base.decode_pixels(latents, batch=batch)
        assert pixels.dtype == "uint8" and pixels.shape == (5, 32, 32, 3)
        assert abs(pixels.astype(float) - whole).max() <= 1  # a last bit may round otherwise in another batch
    rough = base.decode_pixels(latents, precision="bf16").astype(float)
    assert abs(rough - whole).mean() < 2 and not torch.is_autocast_enabled("cpu")


class Says:
    """A UNet that answers ``answer`` and keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, z_t, t, **asked):
        self.asked = asked
        return SimpleNamespace(sample=self.answer)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_noise_is_found_whatever_the_unet_predicts(base, kind):
    draws = torch.Generator().manual_seed(3)
    z_0, eps = (torch.randn((3, *base.latent_shape), generator=draws) for _ in range(2))
    for t in (torch.tensor([5, 400, 990]), torch.tensor(700)):
        z_t, v = base.schedule.add_noise(z_0, t, eps), base.schedule.add_noise(eps, t, -z_0)
        knows = dataclasses.replace(base, unet=Says(eps if kind == "epsilon" else v), prediction_type=kind)
        assert torch.allclose(knows.predict_noise(z_t, t, base.empty_context), eps, atol=1e-5)
        assert set(knows.unet.asked) == {"encoder_hidden_states"}


def test_what_is_predicted_comes_as_it_is_wanted(base):
    z_t, t = torch.zeros((1, *base.latent_shape)), torch.tensor([5])
    half = dataclasses.replace(base, unet=Says(z_t.bfloat16()), prediction_type="v_prediction")
    assert half.predict_noise(z_t, t, base.empty_context, dtype=torch.float64).dtype == torch.float64
    half.predict_noise(z_t, t, base.empty_context, ([z_t], z_t + 1))
    asked = half.unet.asked
    assert asked["down_block_additional_residuals"] == [z_t] and bool((asked["mid_block_additional_residual"] == 1).all())
