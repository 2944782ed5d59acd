"""The mathematics of an adapter, and putting it on a base and taking it off again."""

import pytest
import torch

from adapters_support import adapter_of, output
from sfumato.adapters.lora import (
    TEXT,
    UNET,
    Adapter,
    LoraSettings,
    attached,
    check_fits,
    collect,
    delta_w,
    factors_of,
    initial,
    linears,
)
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion.sampling import sample

# ---------------------------------------------------------------- Delta W


def test_delta_by_hand():
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0], [20.0]])
    assert torch.equal(delta_w(a, b, 2.0, 1), torch.tensor([[20.0, 40.0, 60.0], [40.0, 80.0, 120.0]]))


def test_delta_of_a_stack_is_that_of_each():
    a, b = torch.randn((3, 2, 5), generator=generator(0)), torch.randn((3, 4, 2), generator=generator(1))
    for k in range(3):
        assert torch.allclose(delta_w(a, b, 7.0, 2)[k], 3.5 * b[k] @ a[k], atol=1e-6)


def test_delta_of_a_convolution_is_the_two_convolutions():
    a, b = torch.randn((2, 3, 3, 3), generator=generator(0)), torch.randn((5, 2, 1, 1), generator=generator(1))
    x = torch.randn((1, 3, 8, 8), generator=generator(2))
    both = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, a), b) * 1.5
    assert torch.allclose(torch.nn.functional.conv2d(x, delta_w(a, b, 3.0, 2)), both, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_another_basis_is_the_same_adapter(seed):
    draws = generator(seed)
    a, b = (torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((4, 9), (7, 4)))
    g = torch.randn((4, 4), generator=draws, dtype=torch.float64)
    assert torch.allclose(delta_w(g @ a, b @ torch.linalg.inv(g), 4.0, 4), delta_w(a, b, 4.0, 4), atol=1e-9)


def test_deltas_are_what_peft_merges(base):
    made = adapter_of(base)
    with attached(base, made) as layers:
        for name, delta in made.deltas().items():
            assert torch.allclose(layers[name].get_delta_weight("sfumato"), delta, atol=1e-6), name
            assert layers[name].scaling["sfumato"] == 2.0


def test_adding_the_deltas_to_the_weights_is_attaching(base):
    made = adapter_of(base)
    with attached(base, made):
        under = output(base)
    layers = linears(base, LoraSettings(rank=3))
    before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    try:
        for name, delta in made.deltas().items():
            layers[name].weight += delta
        assert torch.allclose(output(base), under, atol=1e-4)
    finally:
        for name, layer in layers.items():
            layer.weight.copy_(before[name])


# ---------------------------------------------------------------- where it sits


def test_by_default_queries_and_values_of_both(base):
    names = list(linears(base, LoraSettings()))
    assert names == sorted(names)
    assert {name.rpartition(".")[2] for name in names} == {"to_q", "to_v", "q_proj", "v_proj"}
    assert f"{TEXT}encoder.layers.0.self_attn.q_proj" in names
    assert all(name.startswith((UNET, TEXT)) for name in names)


def test_without_the_text_encoder(base):
    assert all(name.startswith(UNET) for name in linears(base, LoraSettings(text_targets=())))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ("to_z",)}, "no layer of unet has that name"),
        ({"text_targets": ("nothing",)}, "no layer of text_encoder"),
        ({"targets": ("conv1",)}, "is no linear layer"),
        ({"targets": ("q",)}, "no layer"),
    ],
)
def test_a_target_that_is_none_is_answered_with_some_that_are(base, settings, said):
    with pytest.raises(UserError, match=said) as error:
        linears(base, LoraSettings(**settings))
    assert "to_q" in str(error.value) or "q_proj" in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"rank": 0}, {"lora_alpha": 0.0}, {"lora_alpha": float("nan")}, {"text_alpha": -1.0}, {"targets": (), "text_targets": ()}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(UserError):
        LoraSettings(**wrong)


def test_alpha_is_the_rank_unless_said():
    assert LoraSettings(rank=5).alpha_of("unet.x") == 5 == LoraSettings(rank=5).alpha_of(f"{TEXT}x")
    paper = LoraSettings(lora_alpha=27, text_alpha=17)
    assert (paper.alpha_of("unet.x"), paper.alpha_of(f"{TEXT}x")) == (27, 17)


# ---------------------------------------------------------------- the first weights


def test_the_first_weights_change_nothing_and_are_repeatable(base):
    settings = LoraSettings(rank=4)
    layers = linears(base, settings)
    one, two, other = (initial(layers, settings, generator=generator(seed)) for seed in (1, 1, 2))
    for name, (a, b) in one.factors.items():
        assert torch.equal(a, two.factors[name][0]) and not torch.equal(a, other.factors[name][0])
        assert a.shape == (4, layers[name].in_features) and b.shape == (layers[name].out_features, 4) and not b.any()
        assert float(a.abs().max()) <= layers[name].in_features ** -0.5
    assert one.parameters == sum(4 * (layer.in_features + layer.out_features) for layer in layers.values())
    assert set(one.ranks.values()) == {4}
    plain = output(base)
    with attached(base, one):
        assert torch.equal(output(base), plain)


def test_nothing_is_drawn_from_the_global_generator(base):
    before = torch.get_rng_state()
    with attached(base, adapter_of(base)):
        output(base)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- on and off


def test_what_was_put_on_comes_off(base):
    keys, plain = list(base.unet.state_dict()), output(base)
    with attached(base, adapter_of(base)):
        assert not torch.allclose(output(base), plain, atol=1e-3)
    assert list(base.unet.state_dict()) == keys and torch.equal(output(base), plain)
    assert not hasattr(base.unet, "peft_config") and not hasattr(base.text_encoder, "peft_config")


def test_it_comes_off_after_an_error_too(base):
    plain = output(base)
    with pytest.raises(ZeroDivisionError), attached(base, adapter_of(base)):
        1 / 0  # noqa: B018
    assert torch.equal(output(base), plain)


def test_one_at_a_time(base):
    made = adapter_of(base)
    with attached(base, made):
        with pytest.raises(ValueError, match="carries an adapter already"), attached(base, made):
            pass
        assert hasattr(base.unet, "peft_config")  # the first one is still on


def test_weights_are_copied_both_ways(base):
    made = adapter_of(base)
    name = next(iter(made.factors))
    before = made.factors[name][0].clone()
    with attached(base, made, trainable=True) as layers:
        a, _ = factors_of(layers)[name]
        assert a.requires_grad
        taken = collect(layers, made.alphas)
        a.data.add_(1)
    assert torch.equal(made.factors[name][0], before) and torch.equal(taken.factors[name][0], before)
    assert taken.alphas == made.alphas


def test_the_empty_prompt_is_read_anew(base):
    """Guidance subtracts what the empty prompt gives: under a text encoder's adapter, that is another context."""
    plain = base.empty_context
    with attached(base, adapter_of(base)):
        assert not torch.allclose(base.empty_context, plain, atol=1e-4)
        sample(base, ["x"], generator=generator(0), steps=2)
    assert torch.equal(base.empty_context, plain)


def test_ranks_and_alphas_may_differ_between_layers(base):
    made = adapter_of(base)
    one, two = list(made.factors)[:2]
    a, b = made.factors[two]
    mixed = Adapter(factors={one: made.factors[one], two: (a[:1], b[:, :1])}, alphas={one: 6.0, two: 0.5})
    with attached(base, mixed) as layers:
        assert (layers[one].r["sfumato"], layers[two].r["sfumato"]) == (3, 1)
        for name, delta in mixed.deltas().items():
            assert torch.allclose(layers[name].get_delta_weight("sfumato"), delta, atol=1e-6)


def test_an_adapter_of_another_base_is_refused(base):
    made = adapter_of(base)
    name, (a, b) = next(iter(made.factors.items()))
    weight = base.text_encoder.get_input_embeddings().weight
    words = torch.zeros(2, weight.shape[1]), torch.zeros(len(weight), 2)
    for wrong, said in (
        ({"unet.nowhere.to_q": (a, b)}, "has no such layer"),
        ({name: (a[:, :-1], b)}, "weights of shape"),
        ({name: (a, b[:-1])}, "weights of shape"),
        ({}, "without a single"),
        ({f"{TEXT}embeddings.token_embedding": words}, "an adapter of a Embedding"),
        ({"unet.nowhere.to_q": (torch.zeros(1, 10**6), torch.zeros(10**6, 1))}, "has no such layer"),  # 4 TB, were it made
        ({name: (torch.zeros(1, 10**6), torch.zeros(10**6, 1))}, "weights of shape"),
    ):
        with pytest.raises(UserError, match=said):
            check_fits(Adapter(factors=wrong, alphas=dict.fromkeys(wrong, 1.0)), base)
