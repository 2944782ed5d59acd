"""Channels last: the same numbers, and group norms that are not slow on them."""

import torch
from torch import nn

from sfumato.diffusion.layout import channels_last


def test_norms_give_the_same_numbers_and_gradients_and_keep_the_layout():
    plain, ours = nn.GroupNorm(2, 8), nn.Sequential(nn.GroupNorm(2, 8))
    with torch.no_grad():
        for norm in (plain, ours[0]):
            norm.weight.copy_(torch.linspace(0.5, 2, 8))
            norm.bias.copy_(torch.linspace(-1, 1, 8))
    channels_last(ours)
    x = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    for layout in (torch.channels_last, torch.contiguous_format):
        a, b = (x.clone().contiguous(memory_format=layout).requires_grad_() for _ in range(2))
        out = ours(a)
        assert out.is_contiguous(memory_format=layout) and torch.allclose(out, plain(b), atol=1e-6)
        weights = torch.arange(out.numel(), dtype=torch.float32).view(out.shape)
        for result in (out, plain(b)):
            (result * weights).sum().backward()
        assert torch.allclose(a.grad, b.grad, atol=1e-3)
    assert torch.allclose(ours(x[:, :, 0, 0]), plain(x[:, :, 0, 0]))


def test_every_norm_of_a_base_copes_and_states_are_what_they_were(base):
    norms = [part for part in base.unet.modules() if isinstance(part, nn.GroupNorm)]
    assert norms and all(type(norm) is not nn.GroupNorm for norm in norms)
    before = set(base.unet.state_dict())
    channels_last(base.unet)
    assert set(base.unet.state_dict()) == before and next(base.unet.parameters()).dtype == torch.float32
