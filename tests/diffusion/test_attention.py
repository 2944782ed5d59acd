"""Cheaper attention computes what the stock processors compute, forwards and backwards."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from sfumato.diffusion.attention import SMALL, ConstantContext, NullContexts, SilentContext, suit
from sfumato.diffusion.base import load_base
from tests_support import acting_controlnet, write_pipeline


@pytest.fixture(params=["mini", "sd15", "sd21"])
def pair(request, tmp_path):
    """A frozen base, and a ControlNet with zero convolutions that are no longer zero."""
    base = load_base(str(write_pipeline(tmp_path / "base", family=request.param)))
    return base, acting_controlnet(base)


def forward(base, net):
    draws = torch.Generator().manual_seed(2)
    z, c = (torch.randn(3, 4, base.side, base.side, generator=draws) for _ in range(2))
    t, context = torch.tensor([10, 500, 990]), base.empty_context.expand(3, -1, -1)
    down, mid = net(z, t, torch.zeros_like(context), controlnet_cond=c, return_dict=False)
    return base.unet(z, t, encoder_hidden_states=context, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample


def gradients(loss, net):
    net.zero_grad(set_to_none=True)
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}


def test_null_contexts_change_neither_output_nor_gradients(pair):
    base, net = pair
    output = forward(base, net)
    usual = gradients(output.square().mean(), net)
    with NullContexts(base.unet, base.empty_context, net).entered():
        cheap_output = forward(base, net)
        cheap = gradients(cheap_output.square().mean(), net)
    assert torch.allclose(output, cheap_output, atol=1e-5)
    silent = {name for name, value in cheap.items() if value is None}
    cross = {name for name in usual if "transformer" in name and (".norm2." in name or ".attn2." in name)}
    assert silent == {name for name in cross if not name.endswith("to_out.0.bias")} != set()
    for name, value in usual.items():
        wanted = torch.zeros_like(value) if name in silent else cheap[name]
        assert torch.allclose(value, wanted, atol=1e-6 + 1e-4 * float(value.abs().max())), name


def test_contexts_that_are_passed_are_not_looked_at_and_the_processors_come_back(pair):
    base, net = pair
    before = [m.processor for m in (*base.unet.modules(), *net.modules()) if hasattr(m, "processor")]
    words = base.embed(["a b c"])
    z, t = torch.randn(1, 4, base.side, base.side, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    null = NullContexts(base.unet, base.empty_context, net)
    with torch.no_grad():
        spoken, empty = (base.unet(z, t, encoder_hidden_states=c).sample for c in (words, base.empty_context))
        with null.entered():
            assert torch.allclose(base.unet(z, t, encoder_hidden_states=words).sample, empty, atol=1e-5)
        assert not torch.allclose(spoken, empty, atol=1e-5)
        assert torch.equal(base.unet(z, t, encoder_hidden_states=words).sample, spoken)
    with pytest.raises(KeyError), null.entered():
        raise KeyError
    assert [m.processor for m in (*base.unet.modules(), *net.modules()) if hasattr(m, "processor")] == before


def test_every_cross_attention_is_taken_over(pair):
    base, net = pair
    with NullContexts(base.unet, base.empty_context, net).entered():
        kinds = {
            kind: [type(m.processor) for name, m in module.named_modules() if name.endswith("attn2")]
            for kind, module in (("unet", base.unet), ("net", net))
        }
        own = [type(m.processor) for name, m in base.unet.named_modules() if name.endswith("attn1")]
    assert set(kinds["unet"]) == {ConstantContext} and set(kinds["net"]) == {SilentContext} and set(own) == {AttnProcessor}


def test_plain_attention_only_where_it_is_cheaper(base):
    def kinds(**where):
        base.unet.set_attn_processor(AttnProcessor2_0())
        suit(base.unet, **where)
        return {type(p) for p in base.unet.attn_processors.values()}

    assert kinds(side=SMALL + 1, device="cpu") == kinds(side=8, device="cuda") == {AttnProcessor2_0}
    assert kinds(side=SMALL, device="cpu") == {AttnProcessor}
