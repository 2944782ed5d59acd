"""Descent on pixels through the base's own encoder."""

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Activations, Conditions, Entrance, Latents, Mixed, Noise, Public, Scenario
from sfumato.attacker.records import _invert, rmle
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator
from sfumato.diffusion.controlnet import one_way_input
from sfumato.pictures import avatars

N = 3


@pytest.fixture(scope="module")
def truth(tiny):
    """Pictures and their latents."""
    images = np.stack([avatars.picture("adventurer", "recombined", i, seed=3).image for i in range(N)])
    return images, tiny.encode_pixels(images)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rmle, "ITERATIONS", {"quick": 100, "full": 100})


def psnr(a, b):
    return float((10 * np.log10(255**2 / np.square(a.astype(float) - b).mean((1, 2, 3)))).mean())


def noised(base, x, n, seed=1):
    eps = torch.randn(x.shape, generator=generator(seed))
    return float(base.schedule.alpha(n)) * x + float(base.schedule.sigma(n)) * eps, eps


def released(z, n):
    return Latents(z[None], torch.full((1, N), n))


def test_clean_latents_give_the_picture(tiny, truth):
    images, z_0 = truth
    told = []
    guess = attempt("rmle", Scenario(released(z_0, -1), tiny), tell=lambda *a: told.append(a))
    assert isinstance(guess, Guess) and guess.images.dtype == np.uint8 and guess.images.shape == images.shape
    grey = psnr(np.full_like(images, 128), images)
    assert psnr(guess.images, images) > grey + 4
    assert psnr(np.roll(guess.images, 1, 0), images) < grey + 2
    assert guess.curve[-1][1] < 0.1 * guess.curve[0][1] and guess.budget["iterations"] == 100
    assert guess.c is None and told[-1] == (100, 100)


def test_half_precision_is_far_finer_than_what_is_left_open(tiny, truth):
    images, _ = truth
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).requires_grad_(True)
    coarse, fine = (_invert.encoder(tiny, precision)(x) for precision in ("bf16", "no"))
    assert coarse.dtype == torch.float32 and 0 < (coarse - fine).std() < 0.5 * _invert.FLOOR
    slopes = [torch.autograd.grad(found.square().sum(), [x])[0] for found in (coarse, fine)]
    assert (slopes[0] - slopes[1]).norm() < 0.05 * slopes[1].norm()


def test_a_little_noise_still_gives_it_and_the_condition(tiny, truth):
    images, z_0 = truth
    (z, _), (c, _) = noised(tiny, z_0, 50), noised(tiny, z_0.flip(0), 50, seed=2)
    scenario = Scenario(released(z, 50), Conditions(c[None], torch.full((1, N), 50)), tiny)
    before = z.clone()
    guess = attempt("rmle", scenario)
    assert psnr(guess.images, images) > psnr(np.full_like(images, 128), images) + 3
    assert (guess.c - z_0.flip(0)).square().mean() < 0.3 * z_0.square().mean()
    assert torch.equal(before, z) and guess.budget["condition curve"][-1][1] < guess.budget["condition curve"][0][1]


def test_known_noise_is_no_noise(tiny, truth):
    images, z_0 = truth
    z, eps = noised(tiny, z_0, 900)
    known = attempt("rmle", Scenario(released(z, 900), Noise(eps[None]), tiny))
    unknown = attempt("rmle", Scenario(released(z, 900), tiny))
    assert psnr(known.images, images) > psnr(unknown.images, images) + 5


def test_pure_noise_gives_no_more_than_another_picture_s_record(tiny, truth):
    images, _ = truth
    guess = attempt("rmle", Scenario(released(torch.randn(N, 4, 16, 16, generator=generator(4)), 999), tiny))
    assert abs(psnr(guess.images, images) - psnr(np.roll(guess.images, 1, 0), images)) < 1.0


def test_where_the_noise_says_nothing_the_guess_is_the_mean_of_what_is_public(tiny, truth):
    """And not grey: a descent that knows less than anybody is no attack."""
    images, z_0 = truth
    public = Public(images, z_0, z_0.flip(0), ["a", "b", "c"], [""] * 3)
    mean = images.mean(0)
    blind = released(torch.zeros(N, 4, 16, 16), 999)
    guess = attempt("rmle", Scenario(blind, Conditions(blind.z, blind.n), tiny, public))
    assert abs(guess.images - mean).mean() < 12 < abs(attempt("rmle", Scenario(blind, tiny)).images - mean).mean()
    picture, condition = _invert.centres(Scenario(blind, tiny, public), tiny)
    assert (
        picture.shape == condition.shape == (N, 3, 64, 64) and abs((picture[0].numpy() + 1) * 127.5 - mean.transpose(2, 0, 1)).max() < 1e-3
    )
    assert torch.allclose(condition[0], tiny.decode(z_0.mean(0, keepdim=True))[0], atol=1e-5)
    assert not any(grey.any() for grey in _invert.centres(Scenario(blind, tiny), tiny))


def test_mixtures_and_activations_give_the_condition(tiny, truth):
    _, z_0 = truth
    c = z_0.flip(0)
    z, _ = noised(tiny, z_0, 500)
    conv = torch.nn.Conv2d(4, 8, 3, padding=1).requires_grad_(False)
    _invert.redraw(conv, generator(5))
    net = type("Sum", (torch.nn.Module,), {"forward": lambda self, z_t, c: conv(c) + z_t.repeat(1, 2, 1, 1)})()
    for leaked in (Mixed(one_way_input(c, z, "symsigmoid")[None], "symsigmoid"), Activations(net(z, c)[None])):
        guess = attempt("rmle", Scenario(released(z, 500), leaked, Entrance(net), tiny))
        assert (guess.c - c).square().mean() < 0.2 * c.square().mean()


def test_without_a_base_or_latents_there_is_no_channel(tiny, truth):
    assert str(attempt("rmle", Scenario(released(truth[1], -1)))) == "no Base"
    assert attempt("rmle", Scenario(tiny)) == NoChannel((Latents,))
