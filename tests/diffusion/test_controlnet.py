import json
from pathlib import Path

import pytest
import torch

from sfumato.core.errors import UserError
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.sampling import sample
from tests_support import acting_controlnet


def trained(base):
    return acting_controlnet(base).eval().requires_grad_(False)


def settings(base):
    return {
        "kind": "sfumato-controlnet",
        "base": {"name": base.name, "fingerprint": base.fingerprint, "unet": base.unet_fingerprint},
        "condition": "canny",
        "condition_scale": 0.8,
        "context": "zeros",
        "control_guidance_end": 1.0,
    }


def test_a_new_controlnet_changes_nothing(base):
    model = nets.new_controlnet(base, generator=torch.Generator().manual_seed(0)).eval()
    condition = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    with_control = sample(base, ["a", "b"], generator=torch.Generator().manual_seed(0), controlnet=model, condition=condition, steps=2)
    assert torch.allclose(with_control, sample(base, ["a", "b"], generator=torch.Generator().manual_seed(0), steps=2), atol=1e-5)


def test_saved_is_a_stock_controlnet_and_loads_alike(base, tmp_path):
    from diffusers import ControlNetModel

    model = trained(base)
    nets.save_controlnet(model, tmp_path, settings(base))
    stock = ControlNetModel.from_pretrained(tmp_path)
    ours, _ = nets.load_latent_controlnet(tmp_path)
    for other in (stock, ours):
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "change", [{"kind": "other"}, {"base": None}, {"base": {"name": "tiny"}}, {"condition_scale": "1"}, {"context": None}, {"condition": 3}]
)
def test_settings_that_are_not_ours_are_told_not_traced(base, tmp_path, change):
    nets.save_controlnet(trained(base), tmp_path / "net", settings(base))
    nets.load_latent_controlnet(tmp_path / "net")
    for text in (json.dumps({**settings(base), **change}), "[]", "null"):
        (tmp_path / "net" / nets.SETTINGS).write_text(text)
        with pytest.raises(UserError, match="not the settings"):
            nets.load_latent_controlnet(tmp_path / "net")


def test_what_a_kill_left_of_a_save_is_swept_up(base, tmp_path):
    (tmp_path / ".model.old.partial").mkdir()
    nets.save_controlnet(trained(base), tmp_path, settings(base))
    assert not list(tmp_path.glob(".model.*")) and nets.load_latent_controlnet(tmp_path)


def test_a_save_that_fails_leaves_the_earlier_weights(base, tmp_path, monkeypatch):
    folder, model = tmp_path / "net", trained(base)
    nets.save_controlnet(model, folder, settings(base))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(aside):
        (Path(aside) / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        nets.save_controlnet(model, folder, settings(base))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_stock_pipeline_runs_it_with_an_rgb_condition(base, mini, tmp_path):
    """One pipeline step equals our own sampler: RGB in, same prompt-blind residuals."""
    from diffusers import StableDiffusionControlNetPipeline

    model = trained(base)
    nets.save_controlnet(model, tmp_path, settings(base))
    wrapped = nets.load_controlnet(tmp_path, vae=base.vae)
    rgb = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    latent = 0.8 * base.encode(rgb * 2 - 1)
    z, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(6)), torch.tensor([500])
    prompt = base.embed(["abc"])
    with torch.no_grad():
        theirs = wrapped(z, t, prompt, controlnet_cond=rgb, return_dict=False)
        ours = model(z, t, torch.zeros_like(prompt), controlnet_cond=latent, return_dict=False)
    assert torch.allclose(theirs[1], ours[1], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(theirs[0], ours[0], strict=True))
    pipe = StableDiffusionControlNetPipeline.from_pretrained(mini, controlnet=wrapped, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("abc", image=rgb, num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert image.shape == (1, 32, 32, 3)


def test_residuals_stop_at_control_guidance_end(base):
    model, condition = trained(base), torch.ones(1, 4, 8, 8)

    def run(**arguments):
        return sample(base, ["a"], generator=torch.Generator().manual_seed(0), steps=2, **arguments)

    plain, all_the_way = run(), run(controlnet=model, condition=condition)
    assert not torch.allclose(plain, all_the_way)
    assert torch.equal(plain, run(controlnet=model, condition=condition, control_guidance_end=0.0))
