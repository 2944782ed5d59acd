"""Singular values do not depend on the factors; the nearest adapter's number wins the vote."""

import dataclasses

import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights.base import Guess, Published
from sfumato.attacker.weights.dataset_size import Sized, spectra
from sfumato.core.randomness import generator

LAYERS = [f"unet.{i}.to_q" for i in range(6)]


def adapter(scales, *, seed=0, rank=3, jitter=0.0):
    """Layers whose singular values are ``scale * (1, 1/2, 1/3)``, up to a jitter, in random bases."""
    draws = generator(seed)
    factors = {}
    for name, scale in zip(LAYERS, scales, strict=True):
        u, v = (torch.linalg.qr(torch.randn((n, rank), generator=draws, dtype=torch.float64)).Q for n in (12, 8))
        s = scale / torch.arange(1, rank + 1) * (1 + jitter * torch.randn(rank, generator=draws))
        factors[name] = v.mT, u * s
    return Adapter(factors=factors, alphas=dict.fromkeys(LAYERS, float(rank)))


def sized(jitter=0.05):
    """Three adapters each of 1, 8 and 64 pictures; more pictures, larger values."""
    made = [(n, adapter([scale] * 6, seed=100 * n + i, jitter=jitter)) for n, scale in ((1, 1.0), (8, 2.0), (64, 4.0)) for i in range(3)]
    return Sized(tuple(a for _, a in made), tuple(n for n, _ in made))


def guessed(victim, known=None):
    return weights.attempt("dataset_size", Scenario(Published(victim), known or sized()))


def test_spectra_are_the_singular_values_of_what_is_added(base):
    one = adapter_of(base, rank=3, lora_alpha=6.0)
    for name, values in spectra(one).items():
        full = torch.linalg.svdvals(one.deltas()[name].double().flatten(1))
        assert torch.allclose(values, full[:3], rtol=1e-5) and bool((full[3:] < 1e-5 * full[0]).all())


def test_spectra_do_not_depend_on_the_factors(base):
    one = adapter_of(base)
    draws = generator(3)
    mixed = {}
    for name, (a, b) in one.factors.items():
        g = torch.randn((3, 3), generator=draws) + 3 * torch.eye(3)
        mixed[name] = g @ a, b @ torch.linalg.inv(g)
    for name, values in spectra(dataclasses.replace(one, factors=mixed)).items():
        assert torch.allclose(values, spectra(one)[name], rtol=1e-3)


def test_a_convolution_counts_as_its_matrix():
    a, b = torch.randn((2, 4, 3, 3), generator=generator(0)), torch.randn((5, 2, 1, 1), generator=generator(1))
    conv = Adapter(factors={"unet.conv": (a, b)}, alphas={"unet.conv": 2.0})
    full = torch.linalg.svdvals(b.flatten(1).double() @ a.flatten(1).double())
    assert torch.allclose(spectra(conv)["unet.conv"], full[:2], rtol=1e-6)


@pytest.mark.parametrize(("scale", "pictures"), [(1.0, 1), (2.1, 8), (3.9, 64)])
def test_the_number_is_recovered(scale, pictures):
    guess = guessed(adapter([scale] * 6, seed=7, jitter=0.05))
    assert isinstance(guess, Guess), guess
    assert guess.facts == {"pictures": pictures, "votes": {pictures: 6}}


def test_most_layers_win():
    assert guessed(adapter([1.0, 1.0, 2.0, 2.0, 2.0, 4.0])).facts == {"pictures": 8, "votes": {1: 2, 8: 3, 64: 1}}


def test_a_tie_goes_to_the_nearer():
    known = Sized((adapter([1.0] * 6, seed=1), adapter([2.0] * 6, seed=2)), (5, 50))
    assert guessed(adapter([1.0, 1.0, 1.0, 1.6, 1.6, 1.6]), known).facts == {"pictures": 5, "votes": {5: 3, 50: 3}}


def test_every_adapter_finds_itself():
    known = sized()
    assert [guessed(one, known).facts["pictures"] for one in known.adapters] == list(known.pictures)


def test_ranks_may_differ():
    known = Sized((adapter([1.0] * 6, rank=2), adapter([4.0] * 6, rank=5)), (3, 30))
    assert guessed(adapter([4.0] * 6, rank=3, seed=5), known).facts["pictures"] == 30


def test_what_is_missing_or_does_not_fit_is_named():
    victim = adapter([1.0] * 6)
    assert weights.attempt("dataset_size", Scenario(Published(victim))) == NoChannel((Sized,))
    assert "one number for each" in guessed(victim, Sized((victim,), (1, 2))).cause
    other = Adapter(factors={"unet.z": (torch.ones(1, 2), torch.ones(2, 1))}, alphas={"unet.z": 1.0})
    failed = guessed(victim, Sized((other,), (1,)))
    assert isinstance(failed, Failed) and "targets" in failed.cause
