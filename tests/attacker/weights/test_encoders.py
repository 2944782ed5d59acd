"""Encoders: what they say has the right shape, and depends on what an adapter adds, not on how it is written; but for the paper's."""

import dataclasses

import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters.lora import Adapter
from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig, load
from sfumato.attacker.weights._encoders import base as encoders
from sfumato.attacker.weights._layout import Layout
from sfumato.attacker.weights.network_autoencoder import VARIANTS
from sfumato.core.randomness import generator

INVARIANT = ("invariant", "linear", "probe")
READERS = tuple(name for name in VARIANTS if name != "constant")
STEPS = (10, 100, 200)


def model_of(base, encoder, *, awake=True, **config):
    """An autoencoder that was fitted to six adapters; and, where it shall not be silent, with random numbers where it had zeros."""
    adapters = [adapter_of(base, seed) for seed in range(6)]
    layout = Layout.of(adapters[0])
    model = Autoencoder(base, layout, AutoencoderConfig(encoder=encoder, **config), steps=STEPS)
    rows = torch.stack([layout.row(adapter.factors) * (1 + k) for k, adapter in enumerate(adapters)])
    model.fit(rows, torch.tensor([10, 10, 100, 100, 200, 200]))
    if awake:
        draws = generator(9)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and not bool(parameter.any()):
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
    return model.eval()


def rewritten(adapter, *, seed, cond=10.0):
    """The same adapter, ``(G A, B G^-1)``, with a G of that condition number for every layer."""
    draws, factors = generator(seed), {}
    for name, (a, b) in adapter.factors.items():
        r = len(a)
        left, right = (torch.linalg.qr(torch.randn((r, r), generator=draws, dtype=torch.float64)).Q for _ in range(2))
        g = left @ torch.diag(torch.logspace(0, torch.tensor(cond).log10().item(), r, dtype=torch.float64)) @ right
        factors[name] = (g @ a.double()).float(), (b.double() @ torch.linalg.inv(g)).float()
    return Adapter(factors=factors, alphas=adapter.alphas)


def apart(model, one, two, **how):
    """How far the embeddings of two adapters are apart, beside how far that of the first is from saying nothing."""
    mine, other = (model.embed(adapter, steps=100, **how).mu for adapter in (one, two))
    return float((mine - other).norm() / (mine - model.anchor[0]).norm())


@pytest.mark.parametrize("encoder", READERS)
def test_a_wider_encoder_has_more_to_learn_with_and_the_usual_one_is_what_it_was(base, encoder, tmp_path):
    usual, wide = (model_of(base, encoder, **size) for size in ({}, {"size": 2}))
    learned = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (usual, wide)]
    assert 1.3 * learned[0] < learned[1]
    wide.save(tmp_path / "wide.safetensors")
    again, asked = load(tmp_path / "wide.safetensors", base), adapter_of(base, 7)
    assert again.config.size == 2 and torch.equal(again.embed(asked, steps=100).mu, wide.embed(asked, steps=100).mu)
    assert "size" not in AutoencoderConfig(encoder=encoder).identity() and "size" in wide.config.identity()


def test_the_variants_are_the_encoders():
    assert sorted(VARIANTS) == encoders.names()


@pytest.mark.parametrize("encoder", VARIANTS)
def test_they_say_nothing_at_first_and_then_something_of_the_right_shape(base, encoder):
    silent = model_of(base, encoder, awake=False).embed(adapter_of(base, 7), steps=10)
    assert torch.equal(silent.mu, base.empty_context[0]) and bool((silent.log_var == -6).all())
    said = model_of(base, encoder).embed(adapter_of(base, 7), steps=10)
    assert said.mu.shape == said.log_var.shape == base.empty_context.shape[1:]
    assert not torch.allclose(said.mu, silent.mu, atol=1e-2) and not said.mu.requires_grad


@pytest.mark.parametrize("encoder", INVARIANT)
def test_another_way_of_writing_an_adapter_is_the_same_to_them(base, encoder):
    model, adapter = model_of(base, encoder), adapter_of(base, 7)
    same = max(apart(model, adapter, rewritten(adapter, seed=seed)) for seed in range(5))
    assert same < 1e-4 and 50 * same < apart(model, adapter, adapter_of(base, 8))


def test_the_control_says_the_same_of_everybody(base):
    model = model_of(base, "constant")
    one, two = model.embed(adapter_of(base, 7), steps=10), model.embed(adapter_of(base, 8), steps=200)
    assert torch.equal(one.mu, two.mu) and not torch.equal(one.mu, base.empty_context[0])


@pytest.mark.parametrize("encoder", ["invariant", "probe"])
def test_what_is_added_is_told_apart_from_how_much(base, encoder):
    """Twice as much of the same moves the embedding far less than as much of something else."""
    model, adapter = model_of(base, encoder), adapter_of(base, 7)
    twice = Adapter(factors={name: (a, 2 * b) for name, (a, b) in adapter.factors.items()}, alphas=adapter.alphas)
    assert 0 < 2 * apart(model, adapter, twice) < apart(model, adapter, adapter_of(base, 8))


def test_to_the_papers_it_is_another(base):
    adapter = adapter_of(base, 7)
    assert apart(model_of(base, "hypernet"), adapter, rewritten(adapter, seed=0)) > 1e-2


@pytest.mark.parametrize("encoder", INVARIANT)
def test_a_higher_rank_that_adds_nothing_changes_nothing(base, encoder):
    adapter = adapter_of(base, 7)
    wider = {
        name: (torch.nn.functional.pad(a, (0, 0, 0, 2)), torch.nn.functional.pad(b, (0, 2))) for name, (a, b) in adapter.factors.items()
    }
    alphas = {name: value * 5 / 3 for name, value in adapter.alphas.items()}  # the scale is alpha / r
    assert apart(model_of(base, encoder), adapter, Adapter(factors=wider, alphas=alphas)) < 1e-4


@pytest.mark.parametrize("encoder", VARIANTS)
def test_an_adapter_that_adds_nothing_or_lacks_layers_is_no_trouble(base, encoder):
    model, adapter = model_of(base, encoder), adapter_of(base, 7)
    nothing = Adapter(factors={name: (a, 0 * b) for name, (a, b) in adapter.factors.items()}, alphas=adapter.alphas)
    for one in (nothing, adapter_of(base, 7, text_targets=())):
        said = model.embed(one)
        assert bool(said.mu.isfinite().all() and said.log_var.isfinite().all())
    assert said.facts["layers taken as zeros"] == 2


@pytest.mark.parametrize("encoder", VARIANTS)
def test_gradients_reach_what_learns_and_nothing_else(base, encoder):
    model, adapter = model_of(base, encoder), adapter_of(base, 7)
    rows = model.layout.row(adapter.factors)[None]
    mu, log_var = model(model.layout.factors(rows), torch.tensor([100]))
    (mu.square().sum() + log_var.sum()).backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(
        grad is not None and bool(grad.isfinite().all()) and bool(grad.any()) for grad in grads.values() if grad is None or grad.numel()
    )
    assert not any(p.grad is not None for p in [*base.unet.parameters(), *base.text_encoder.parameters()])


@pytest.mark.parametrize("encoder", READERS)
def test_the_step_is_looked_at_where_it_shall_be(base, encoder):
    adapter = adapter_of(base, 7)
    early, late = (model_of(base, encoder).embed(adapter, steps=step).mu for step in (10, 200))
    assert not torch.allclose(early, late, atol=1e-3)
    blind = model_of(base, encoder, with_step=False)
    assert torch.equal(blind.embed(adapter, steps=10).mu, blind.embed(adapter, steps=200).mu)
    assert "steps" not in blind.embed(adapter).facts
    plain = model_of(base, encoder, log_step=False).embed(adapter, steps=10).mu
    assert not torch.allclose(plain, early, atol=1e-3)


def test_without_an_anchor_z_starts_from_zeros(base):
    said = model_of(base, "probe", awake=False, anchored=False).embed(adapter_of(base, 7))
    assert not said.mu.any()


def test_the_number_of_steps_is_guessed_by_how_much_is_added(base):
    model, adapter = model_of(base, "probe"), adapter_of(base, 7)
    for size, step in ((1.5, 10), (3.5, 100), (5.5, 200)):  # sizes of the adapters that the model was fitted to, by step
        scaled = Adapter(factors={name: (size * a, size * b) for name, (a, b) in adapter.factors.items()}, alphas=adapter.alphas)
        assert model.embed(scaled).facts["steps"] == f"{step}, guessed"
    nothing = Adapter(factors={name: (a, 0 * b) for name, (a, b) in adapter.factors.items()}, alphas=adapter.alphas)
    assert model.embed(nothing).facts["steps"] == "100, guessed"  # the middle one
    assert model.embed(adapter, steps=120).facts["steps"] == "120, known"
    assert model.embed(adapter, steps=999).facts["steps"] == "999, known, taken as 200"


def test_principal_components_are_those_of_the_whole_deltas(base):
    """The test base's layers are small enough for a sketch to be exact: distances between adapters are kept."""
    model = model_of(base, "linear", awake=False)
    one, two = adapter_of(base, 1), adapter_of(base, 2)
    sketches = model.encoder.sketch(model.layout.factors(torch.stack([model.layout.row(x.factors) for x in (one, two)])))
    whole = sum(float((one.deltas()[name] - two.deltas()[name]).square().sum()) for name in model.layout.sides)
    assert float((sketches[0] - sketches[1]).square().sum()) == pytest.approx(whole, rel=1e-4)


def test_coordinates_have_unit_variance(base):
    adapters = [adapter_of(base, seed) for seed in range(6)]
    layout = Layout.of(adapters[0])
    model = Autoencoder(base, layout, AutoencoderConfig(encoder="linear", with_step=False), steps=STEPS)
    rows = torch.stack([layout.row(adapter.factors) for adapter in adapters])
    model.fit(rows, torch.tensor([10, 10, 100, 100, 200, 200]))
    encoder, factors = model.encoder, layout.factors(rows)
    coordinates = (encoder.sketch(factors) - encoder.mean) @ encoder.basis
    assert torch.allclose(coordinates.square().mean(0)[:5], torch.ones(5), atol=1e-3) and not coordinates[:, 6:].any()


def test_draws_of_an_embedding_start_with_its_mean(base):
    said = model_of(base, "probe").embed(adapter_of(base, 7))
    wide = dataclasses.replace(said, log_var=torch.zeros_like(said.log_var))
    drawn = wide.draw(500, generator=generator(1))
    assert torch.equal(drawn[0], said.mu) and float((drawn[1:] - said.mu).std()) == pytest.approx(1, abs=0.01)
    assert torch.equal(drawn, wide.draw(500, generator=generator(1)))
