"""One forward pass of a frozen UNet under a ControlNet: what is passed where, and where gradients go."""

import pytest
import torch

from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import load_base
from sfumato.diffusion.noising import eps_from
from tests_support import acting_controlnet, write_pipeline


@pytest.fixture
def parts(base):
    draws = generator(4)
    z_t, hint, shown = (torch.randn(2, *base.latent_shape, generator=draws) for _ in range(3))
    context = base.embed(["a", "b c"])
    return {"z_t": z_t, "t": torch.tensor([100, 800]), "context": context, "hint": hint, "seen": torch.zeros_like(context)}, shown


def test_a_new_controlnet_leaves_the_unets_own_answer(base, parts):
    passed, _ = parts
    model = nets.new_controlnet(base, generator=generator(0))
    with torch.no_grad():
        own = base.unet(passed["z_t"], passed["t"], encoder_hidden_states=passed["context"]).sample
        assert torch.allclose(nets.controlled_eps(base, model, **passed), own, atol=1e-5)


@pytest.mark.parametrize("name", ["z_t", "t", "context", "hint", "seen"])
def test_everything_that_is_passed_matters(base, parts, name):
    passed, _ = parts
    other = dict(passed)
    other[name] = passed[name] + (1 if name == "t" else 0.5)
    model = acting_controlnet(base)
    with torch.no_grad():
        assert not torch.allclose(nets.controlled_eps(base, model, **passed), nets.controlled_eps(base, model, **other), atol=1e-6)


def test_what_is_shown_goes_to_the_controlnet_and_not_to_the_unet(base, parts):
    passed, shown = parts
    new, acting = nets.new_controlnet(base, generator=generator(0)), acting_controlnet(base)
    with torch.no_grad():
        assert torch.allclose(nets.controlled_eps(base, new, **passed), nets.controlled_eps(base, new, **passed, shown=shown), atol=1e-5)
        usual = nets.controlled_eps(base, acting, **passed)
        assert torch.allclose(usual, nets.controlled_eps(base, acting, **passed, shown=passed["z_t"]), atol=1e-6)
        assert not torch.allclose(usual, nets.controlled_eps(base, acting, **passed, shown=shown), atol=1e-5)


def test_gradients_reach_the_controlnet_and_nothing_of_the_base(base, parts):
    passed, _ = parts
    model = acting_controlnet(base)
    nets.controlled_eps(base, model, **passed).square().mean().backward()
    assert all(p.grad is None for p in base.unet.parameters())
    assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 0.8 * len(list(model.parameters()))


def test_a_v_prediction_is_turned_into_eps(tmp_path):
    base = load_base(str(write_pipeline(tmp_path / "base", family="sd21")))
    assert base.prediction_type == "v_prediction"
    z_t, t, context = torch.randn(1, *base.latent_shape, generator=generator(1)), torch.tensor([700]), base.empty_context
    model = nets.new_controlnet(base, generator=generator(0))
    with torch.no_grad():
        v_hat = base.unet(z_t, t, encoder_hidden_states=context).sample
        found = nets.controlled_eps(base, model, z_t, t, context=context, hint=torch.zeros_like(z_t), seen=torch.zeros_like(context))
    assert torch.allclose(found, eps_from(v_hat, z_t, t, base.schedule, "v_prediction"), atol=1e-4)


def test_what_goes_beside_a_controlnet_is_what_loading_accepts(base, tmp_path):
    settings = nets.describe(base, condition="canny", captioned=True, records=7)
    nets.save_controlnet(acting_controlnet(base), tmp_path, settings)
    _, found = nets.load_latent_controlnet(tmp_path)
    assert found == settings and found["context"] == "captions" and found["records"] == 7
