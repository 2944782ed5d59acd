"""Both loops train, take turns and leave the base as it was; no test looks at the time."""

import torch
from diffusers.models.attention_processor import AttnProcessor

from sfumato.diffusion import controlnet as nets
from sfumato.studies.training import step_time


def test_both_loops_step_and_the_base_is_given_back(base):
    told = []
    found = step_time.measure(base, batch=2, rounds=2, steps=1, on_step=lambda *x: told.append(x))
    assert set(found["seconds_per_step"]) == {"usual", "sealed"} and told[-1] == (8, 8)
    medians = found["seconds_per_step"]
    assert found["server_ratio"] == medians["usual"] / medians["sealed"] > 0
    assert all(type(p) is AttnProcessor for p in base.unet.attn_processors.values())
    assert base.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


def test_each_loop_has_a_loss_with_gradients(base):
    for prepare, step, optimiser, model in (step_time._usual(base, 2, 0), step_time._sealed(base, 2, 0)):
        prepare()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for _ in range(2):
            loss = step()
            loss.backward()
            optimiser.step()
        assert bool(loss.isfinite()) and any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    step_time._ours(base)


def test_the_usual_controlnet_takes_rgb_at_the_pictures_own_size(base):
    model = nets.usual_controlnet(base)
    embedded = model.controlnet_cond_embedding(torch.zeros(1, 3, base.size, base.size))
    assert embedded.shape[-2:] == (base.side, base.side)
