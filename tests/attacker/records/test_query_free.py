"""Descent through a shadow of the owner's model."""

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Activations, Architecture, Conditions, Latents, Public, Scenario
from sfumato.attacker.records import query_free
from sfumato.attacker.records._invert import redraw
from sfumato.attacker.records.base import attempt
from sfumato.core.randomness import generator

N = 3


@pytest.fixture(scope="module")
def blocks(tiny):
    """Private and public pictures, 32 pixels a side, with their latents."""
    draw = np.random.default_rng(0)
    images = np.kron(draw.integers(0, 255, (N + 48, 4, 4, 3), dtype=np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    z_0 = tiny.encode_pixels(images)
    return images[:N], z_0[:N], Public(images[N:], z_0[N:], z_0[N:].flip(0), ["x"] * 48, [""] * 48)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(query_free, "FIT", {"quick": 200, "full": 200})
    monkeypatch.setattr(query_free, "ITERATIONS", {"quick": 80, "full": 80})


def psnr(a, b):
    return float((10 * np.log10(255**2 / np.square(a.astype(float) - b).mean((1, 2, 3)))).mean())


def released(z, n=-1):
    return Latents(z[None], torch.full((1, N), n))


def test_the_shadow_gives_pictures_and_conditions(tiny, blocks):
    images, z_0, public = blocks
    kept = public.z_0.clone()
    guess = attempt("query_free", Scenario(released(z_0), Conditions(z_0.flip(0)[None], torch.full((1, N), -1)), public, tiny))
    grey = psnr(np.full_like(images, 128), images)
    assert psnr(guess.images, images) > grey + 3 > psnr(np.roll(guess.images, 1, 0), images)
    assert (guess.c - z_0.flip(0)).square().mean() < 0.2 * z_0.square().mean()
    assert guess.budget["shadow's error"] < 0.2 * float(z_0.square().mean()) and guess.curve[-1][1] < guess.curve[0][1]
    assert torch.equal(kept, public.z_0)


def test_pure_noise_gives_chance(tiny, blocks):
    images, z_0, public = blocks
    guess = attempt("query_free", Scenario(released(torch.randn(z_0.shape, generator=generator(2)), 999), public, tiny))
    assert guess.c is None and abs(psnr(guess.images, images) - psnr(np.roll(guess.images, 1, 0), images)) < 1.0


class Toy(torch.nn.Module):
    """An entrance of convolutions only, as the real one is."""

    def __init__(self, draws):
        super().__init__()
        self.z, self.c = torch.nn.Conv2d(4, 6, 1), torch.nn.Conv2d(4, 6, 1)
        redraw(self, draws)

    def forward(self, z_t, c):
        return self.z(z_t) + self.c(c)


def test_a_shadow_entrance_has_the_moments_that_were_seen(tiny, blocks):
    _, z_0, public = blocks
    owner, z_t = Toy(generator(3)), torch.randn(z_0.shape, generator=generator(4))
    scenario = Scenario(released(z_t, 900), Activations(owner(z_t, z_0).detach()[None]), Architecture(Toy), public, tiny)
    early = query_free.shadow_entrance(scenario, steps=1, draws=generator(5))[1]
    net, late = query_free.shadow_entrance(scenario, steps=200, draws=generator(5))
    assert late < 0.3 * early
    assert (net.z.weight - owner.z.weight).norm() < 0.5 * owner.z.weight.norm()  # what multiplies the known z_t is found first
    guess = attempt("query_free", scenario)
    assert guess.c.shape == z_0.shape and guess.budget["entrance's error"] < early


def test_without_public_pictures_there_is_no_channel(tiny, blocks):
    assert attempt("query_free", Scenario(released(blocks[1]), tiny)) == NoChannel((Public,))
