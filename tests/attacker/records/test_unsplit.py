"""Conditions out of activations, the layers unknown."""

import numpy as np
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Activations, Architecture, Latents, Public, Scenario
from sfumato.attacker.records import unsplit
from sfumato.attacker.records._invert import redraw
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.studies.records import scenarios

N = 6


class Gain(torch.nn.Module):
    """Of the condition's path only a positive gain for each channel is unknown: all but scale is identified."""

    def __init__(self, draws):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.gain = torch.nn.Parameter(0.5 + torch.rand((1, 4, 1, 1), generator=draws))
        redraw(self.conv, draws)

    def forward(self, z_t, c):
        return self.conv(z_t) + self.gain.abs() * c


def seen():
    c, z = (torch.randn(N, 4, 8, 8, generator=generator(k)) for k in (1, 2))
    return c, z, Latents(z[None], torch.full((1, N), 300)), Gain(generator(3))(z, c).detach()


def correlation(a, b):
    """Of channels, averaged: scales are not identified."""
    a, b = ((x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True) for x in (a, b))
    return float((a * b).mean())


def test_a_simple_entrance_is_cloned_and_its_input_found():
    c, _, latents, a = seen()
    kept, told = a.clone(), []
    guess = attempt("unsplit", Scenario(latents, Activations(a[None]), Architecture(Gain)), tell=lambda *x: told.append(x))
    assert isinstance(guess, Guess) and guess.c.shape == c.shape
    assert correlation(guess.c, c) > 0.6 and abs(correlation(guess.c.roll(1, 0), c)) < 0.15
    assert guess.curve[-1][1] < 0.1 * guess.curve[0][1] and guess.budget["steps"] == 1200
    assert torch.equal(a, kept) and told[-1] == (30, 30)


def test_public_pictures_give_the_scale():
    c, _, latents, a = seen()
    public = Public(np.zeros((9, 8, 8, 3), np.uint8), c, 3 * torch.randn(9, 4, 8, 8, generator=generator(4)) + 1, ["x"] * 9, [""] * 9)
    guess = attempt("unsplit", Scenario(latents, Activations(a[None]), Architecture(Gain), public))
    torch.testing.assert_close(guess.c.mean((0, 2, 3)), public.c.mean((0, 2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(guess.c.std((0, 2, 3)), public.c.std((0, 2, 3)), atol=1e-4, rtol=0)


def test_conditions_are_found_behind_the_real_entrance(tiny, people, monkeypatch):
    """Split learning as it is, with nothing granted but the layers' sizes and public pictures: better than the mean condition."""
    monkeypatch.setitem(unsplit.ROUNDS, "quick", (6, 20))
    public, _, z_0, c = (part if k < 2 else part[:8] for k, part in enumerate(people))
    sent = scenarios.mechanism("split", tiny)(z_0, c, generator(7))
    shape = Architecture(lambda draws: nets.Entrance.of(nets.new_controlnet(tiny, generator=draws)))
    guess, blind = (
        attempt("unsplit", Scenario(sent[Latents], a, shape, public))
        for a in (sent[Activations], Activations(sent[Activations].a.roll(1, 1)))
    )
    prior = float((public.c.mean(0) - c).square().mean())
    assert float((guess.c - c).square().mean()) < 0.8 * prior < float((blind.c - c).square().mean())
    assert float((guess.c - c.roll(1, 0)).square().mean()) > prior


def test_pure_noise_gives_chance():
    c, _, latents, a = seen()
    guess = attempt("unsplit", Scenario(latents, Activations(torch.randn(a[None].shape, generator=generator(5))), Architecture(Gain)))
    assert abs(correlation(guess.c, c)) < 0.15


def test_the_same_seed_gives_the_same_guess():
    _, _, latents, a = seen()
    scenario = Scenario(latents, Activations(a[None]), Architecture(Gain))
    first, again, other = (attempt("unsplit", scenario, seed=seed).c for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_activations_there_is_no_channel():
    assert attempt("unsplit", Scenario(seen()[2], Architecture(Gain))) == NoChannel((Activations,))
