"""How an encoder sees an adapter: in what order, and what is done where it is not what the encoder was trained on."""

import dataclasses

import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters.conventions import UNET
from sfumato.adapters.lora import Adapter, delta_w, linears
from sfumato.attacker.weights._layout import Layout, decompose, norms, refactored, seen
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator


@pytest.fixture(scope="module")
def layout(base):
    return Layout.of(adapter_of(base))


def added(factors):
    return {name: (b @ a)[0] for name, (a, b) in factors.items()}


def change(adapter, name, a=None, b=None):
    pair = adapter.factors[name]
    return dataclasses.replace(adapter, factors=adapter.factors | {name: (pair[0] if a is None else a, pair[1] if b is None else b)})


def test_rows_are_cut_as_they_were_laid_out(base, layout):
    adapters = [adapter_of(base, seed) for seed in range(3)]
    rows = torch.stack([layout.row(adapter.factors) for adapter in adapters])
    assert rows.shape == (3, adapters[0].parameters)
    for name, (a, b) in layout.cut(rows).items():
        assert torch.equal(a[1], adapters[1].factors[name][0]) and torch.equal(b[2], adapters[2].factors[name][1])
    for name, (a, b) in layout.factors(rows).items():
        assert torch.allclose((b @ a)[1], adapters[1].deltas()[name], atol=1e-5)


def test_settings_are_of_the_unets_layers_alone(base, layout):
    assert set(linears(base, layout.settings)) == {name for name in layout.sides if name.startswith(UNET)} != set(layout.sides)
    assert Layout.of(adapter_of(base, targets=())).settings is None


def test_groups_hold_every_layer_once(layout):
    groups = layout.groups()
    assert sorted(name for group in groups for name in group) == sorted(layout.sides)
    assert all(len({layout.sides[name] for name in group}) == 1 for group in groups)


def test_singular_values_and_vectors_give_the_product_back():
    draws = generator(0)
    a, b = torch.randn((5, 3, 7), generator=draws), torch.randn((5, 9, 3), generator=draws)
    u, s, v = decompose(a, b)
    assert u.shape == (5, 9, 3) and s.shape == (5, 3) and v.shape == (5, 7, 3)
    assert torch.allclose(u @ torch.diag_embed(s) @ v.mT, b @ a, atol=1e-5)
    assert torch.allclose(s, torch.linalg.svdvals(b @ a)[:, :3], atol=1e-4) and bool((u.pow(3).sum(1) > 0).all())
    wide = decompose(torch.randn((8, 4), generator=draws), torch.randn((5, 8), generator=draws))  # a rank beyond both sides
    assert wide[0].shape == (5, 4) and bool(wide[1].isfinite().all())


def test_norms_need_no_product(base, layout):
    row = layout.row(adapter_of(base).factors)
    found = norms(layout.factors(row[None]))[0]
    assert found.tolist() == pytest.approx([float(adapter_of(base).deltas()[name].norm()) for name in layout.sides], rel=1e-4)


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_new_factors_of_a_rank_add_as_nearly_the_same_as_that_rank_can(rank):
    draws = generator(1)
    a, b = torch.randn((3, 7), generator=draws), torch.randn((9, 3), generator=draws)
    new_a, new_b = refactored(a, b, rank)
    assert new_a.shape == (rank, 7) and new_b.shape == (9, rank)
    lost = torch.linalg.svdvals(b @ a)[rank:].square().sum().sqrt()
    assert float((new_b @ new_a - b @ a).norm()) == pytest.approx(float(lost), abs=1e-4)


# ---------------------------------------------------------------- anybody's adapter


def test_an_adapter_like_the_others_is_seen_as_it_is(base, layout):
    factors, facts = seen(adapter_of(base), layout, any_rank=False)
    assert facts == {"layers": len(layout.sides)}
    assert all(torch.allclose(delta, adapter_of(base).deltas()[name], atol=1e-5) for name, delta in added(factors).items())


def test_another_alpha_is_what_the_adapter_says(base, layout):
    strong = Adapter(factors=adapter_of(base).factors, alphas=dict.fromkeys(layout.sides, 60.0))
    factors, _ = seen(strong, layout, any_rank=False)
    assert all(torch.allclose(delta, strong.deltas()[name], rtol=1e-4, atol=1e-4) for name, delta in added(factors).items())


@pytest.mark.parametrize("any_rank", [True, False])
@pytest.mark.parametrize("rank", [2, 5])
def test_another_rank(base, layout, rank, any_rank):
    other = adapter_of(base, rank=rank)
    factors, facts = seen(other, layout, any_rank=any_rank)
    assert all(a.shape[1] == (rank if any_rank else layout.rank) for a, _ in factors.values())
    assert facts["rank"] == f"{rank}, taken as it is" if any_rank else f"{rank}, factored anew by SVD at {layout.rank}"
    if any_rank or rank < layout.rank:
        assert all(torch.allclose(delta, other.deltas()[name], atol=1e-4) for name, delta in added(factors).items())


def test_layers_of_several_ranks_are_filled_up_with_zeros(base, layout):
    name = next(iter(layout.sides))
    mixed = change(adapter_of(base), name, *(x for x in adapter_of(base, rank=4).factors[name]))
    factors, _ = seen(mixed, layout, any_rank=True)
    assert {a.shape[1] for a, _ in factors.values()} == {4}
    assert all(torch.allclose(delta, mixed.deltas()[name], atol=1e-4) for name, delta in added(factors).items())


def test_a_rank_beyond_the_layers_sides_costs_no_memory_elsewhere(base, layout):
    name, (out, into) = next(iter(layout.sides.items()))
    a, b = torch.randn((5000, into), generator=generator(3)), torch.randn((out, 5000), generator=generator(4)) / 70
    huge = change(adapter_of(base), name, a, b)
    for any_rank, rank in ((True, max(min(out, into), layout.rank)), (False, layout.rank)):
        factors, facts = seen(huge, layout, any_rank=any_rank)
        assert {a.shape[1] for a, _ in factors.values()} == {rank} and "5000" in facts["rank"]
    factors, _ = seen(huge, layout, any_rank=True)
    assert torch.allclose(added(factors)[name], huge.alphas[name] / 5000 * (b @ a), atol=1e-3)  # and nothing is lost


def test_layers_that_are_missing_are_zeros_and_others_are_not_read(base, layout):
    factors, facts = seen(adapter_of(base, text_targets=(), targets=("to_q", "to_k")), layout, any_rank=True)
    assert facts["layers"] == facts["layers not read"] == sum(name.endswith("to_q") for name in layout.sides)
    assert facts["layers taken as zeros"] == len(layout.sides) - facts["layers"]
    assert all(bool(delta.any()) == name.endswith("to_q") for name, delta in added(factors).items())


def test_what_cannot_be_seen_is_refused(base, layout):
    name, usual = next(iter(layout.sides)), adapter_of(base)
    a, b = usual.factors[name]
    with pytest.raises(UserError, match="no finite numbers"):
        seen(change(usual, name, b=b * float("nan")), layout, any_rank=True)
    with pytest.raises(UserError, match=f"{name}: an adapter for weights of"):
        seen(change(usual, name, a=torch.cat([a, a], dim=1)), layout, any_rank=True)
    with pytest.raises(UserError, match="other layers"):
        seen(adapter_of(base, targets=("to_k",), text_targets=()), layout, any_rank=True)
    with pytest.raises(UserError, match="all of one rank"):
        Layout.of(change(usual, name, *adapter_of(base, rank=4).factors[name]))
    with pytest.raises(UserError, match="is a convolution"):
        Layout.of(change(usual, name, a[:, :, None, None], b[:, :, None, None]))
    assert torch.equal(delta_w(a, b, 6.0, 3), usual.deltas()[name])  # nothing that was given is changed
