"""Whoever calls a base's networks need not know where they are."""

import copy

import pytest
import torch

from second_device import Mixed, second_device
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import load_base
from sfumato.diffusion.placement import at_home


@pytest.fixture
def there(mini):
    with second_device():
        yield load_base(str(mini), device="second")


def test_the_second_device_refuses_what_a_gpu_refuses():
    with second_device() as device:
        here, away = torch.ones(2), torch.ones(2, device=device)
        for meet in (
            lambda: away + here,
            lambda: torch.cat([away, here]),
            lambda: torch.nn.functional.linear(here[None], away[None]),
            lambda: here[away.long()],
            lambda: away.numpy(),
            lambda: torch.randn(2, generator=torch.Generator(), device=device),
        ):
            with pytest.raises(Mixed):
                meet()
        assert (away * torch.tensor(2.0)).device == device and away[here.long()].device == device  # numbers and indices may
        assert torch.equal((away + here.to(away)).cpu(), here + here) and away.tolist() == here.tolist()


def test_what_is_passed_is_moved_and_what_comes_back_is_where_it_was_asked_from(there):
    z, t, context = torch.zeros(2, 4, 8, 8), torch.tensor([3, 5]), there.empty_context.expand(2, -1, -1)
    here = there.unet(z, t, encoder_hidden_states=context).sample
    away = there.unet(z.to("second"), t, encoder_hidden_states=context).sample
    assert here.device.type == "cpu" and away.device.type == "second" and torch.equal(here, away.cpu())
    pictures = torch.zeros(1, 3, 32, 32, requires_grad=True)
    there.vae.decode(there.vae.encode(pictures).latent_dist.mean).sample.sum().backward()
    assert pictures.grad is not None and pictures.grad.device.type == "cpu" and bool(pictures.grad.any())
    net = nets.new_controlnet(there, generator=generator(0))
    down, mid = net(z, t, context, controlnet_cond=z, return_dict=False)
    assert {part.device.type for part in (*down, mid)} == {"cpu"} and net.device.type == "second"


def test_without_the_rule_devices_meet(there):
    for part in (there.vae.encoder, there.unet):
        for hooks in (part._forward_pre_hooks, part._forward_hooks, part._forward_hooks_always_called):
            hooks.clear()
    with pytest.raises(Mixed):
        there.vae.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(Mixed):
        there.unet(torch.zeros(1, 4, 8, 8), 3, encoder_hidden_states=there.empty_context)


def test_a_call_that_fails_leaves_nothing_behind_and_copies_keep_the_rule():
    class Picky(torch.nn.Linear):
        def forward(self, x):
            if not bool(x.any()):
                raise ValueError("zeros")
            return super().forward(x)

    with second_device():
        net = at_home(at_home(Picky(2, 2)).to("second"))
        for module in (net, copy.deepcopy(net)):
            with pytest.raises(ValueError, match="zeros"):
                module(torch.zeros(1, 2))
            assert module(torch.ones(1, 2)).device.type == "cpu" and module._came_from == []
