"""Lying gradients, and an owner that takes them."""

import numpy as np
import pytest
import torch
from torch import nn

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import GradientChannel, Public, Scenario
from sfumato.attacker.records import fsha
from sfumato.attacker.records._invert import redraw
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator

N, SIDE = 24, 8


def rectangles(count, seed):
    """Conditions ``(count, 4, 8, 8)`` of one rectangle a channel; channels differ in shape and height."""
    draw = np.random.default_rng(seed)
    c = torch.zeros(count, 4, SIDE, SIDE)
    for picture in c:
        for k, channel in enumerate(picture):
            height, width = draw.integers(1, 3 + k), draw.integers(1, 6 - k)
            top, left = draw.integers(0, SIDE + 1 - height), draw.integers(0, SIDE + 1 - width)
            channel[top : top + height, left : left + width] = 1 + k / 2
    return c


class Entrance(nn.Module):
    def __init__(self, draws):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.embedding = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 8, 3, padding=1))
        redraw(self, draws)

    def forward(self, z_t, c):
        return self.conv(z_t) + self.embedding(c)


class Owner:
    """Sends what a split scheme's owner sends, and makes the steps that it is told to, unless it is deaf."""

    def __init__(self, c, *, deaf=False):
        self.c, self.deaf, self.steps = c, deaf, 0
        self.z = torch.randn(c.shape, generator=generator(1))
        self.net = Entrance(generator(5))
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=2e-3)

    def forward(self, k):
        draws = generator(9, k)
        rows = torch.randint(N, (16,), generator=draws)
        eps = torch.randn(self.z[rows].shape, generator=draws)
        z_t = 0.5 * self.z[rows] + 0.8 * eps
        self.out = self.net(z_t, self.c[rows])
        return {"a": self.out.detach(), "z_t": z_t, "t": torch.full((16,), 700), "eps": eps, "rows": rows}

    def backward(self, grad):
        if self.deaf:
            return
        self.out.backward(grad)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.steps += 1


@pytest.fixture(scope="module")
def public():
    c = rectangles(256, 2)
    return Public(np.zeros((1, 8, 8, 3), np.uint8), c, c, [], [])


def correlation(a, b, public):
    """Of what differs from the public mean."""
    a, b = (x - public.c.mean(0) for x in (a, b))
    return float(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def attack(owner, public, monkeypatch, steps=300):
    monkeypatch.setattr(fsha, "STEPS", {"quick": steps, "full": steps})
    return attempt("fsha", Scenario(GradientChannel(owner.forward, owner.backward), public))


def test_an_owner_that_obeys_gives_its_conditions_away(public, monkeypatch):
    c = rectangles(N, 1)
    kept, owner = c.clone(), Owner(c)
    guess = attack(owner, public, monkeypatch)
    assert isinstance(guess, Guess) and guess.c.shape == c.shape and guess.budget["records heard"] == N
    assert owner.steps == 300 and torch.equal(c, kept)
    assert correlation(guess.c, c, public) > 0.4 and abs(correlation(guess.c.roll(1, 0), c, public)) < 0.1
    assert guess.curve[-1][1] < 0.2 * guess.curve[0][1]


def test_where_gradients_are_not_taken_the_decoder_reads_what_it_does_not_know(public, monkeypatch):
    c = rectangles(N, 1)
    guess = attack(Owner(c, deaf=True), public, monkeypatch, steps=100)
    assert correlation(guess.c, c, public) < 0.25
    assert (guess.c - c).square().mean() > (public.c.mean(0) - c).square().mean()  # the public mean says more


def test_on_pure_noise_it_scores_chance(public, monkeypatch):
    c, noise = rectangles(N, 1), torch.randn(N, 4, SIDE, SIDE, generator=generator(3))
    guess = attack(Owner(noise), public, monkeypatch, steps=60)
    assert abs(correlation(guess.c, c, public)) < 0.15


def test_what_is_linear_in_the_noised_latents_is_taken_off():
    remainder, net = fsha._Remainder(), nn.Conv2d(4, 8, 3, padding=1)
    redraw(net, generator(4))
    for k in range(3):
        z_t, c = (torch.randn(16, size, 8, 8, generator=generator(6, k, size)) for size in (4, 8))
        with torch.no_grad():
            left = remainder.follow(z_t, net(z_t) + 0.1 * c + 2)
    assert (left - 0.1 * c - 2).square().mean() < 0.2 * (0.1 * c).square().mean()


def test_without_a_channel_back_there_is_none(public):
    answer = attempt("fsha", Scenario(public))
    assert answer == NoChannel((GradientChannel,)) and str(answer) == "no GradientChannel"
