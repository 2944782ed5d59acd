"""The attacks that need no training: exact where the algebra says so, best where the prior is Gaussian, chance on noise."""

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Candidates, Copies, Files, Latents, Mixed, Noise, Public, Releases, Scenario
from sfumato.attacker.records import linear_mmse, linkage
from sfumato.attacker.records._evidence import Evidence, see
from sfumato.attacker.records.base import Guess, attempt
from sfumato.core.randomness import generator
from sfumato.diffusion.controlnet import one_way_input
from tests_support import sealing


def toy(n, d=4 * 4 * 4, seed=0):
    """Pictures and conditions that really are jointly Gaussian, with a known covariance of low rank and a floor."""
    draws = generator(seed)
    mixing = torch.randn(2 * d, 12, generator=generator(99)).double() / 3
    joint = (torch.randn(n, 12, generator=draws).double() @ mixing.T + 0.1 * torch.randn(n, 2 * d, generator=draws)).float()
    return joint[:, :d].reshape(n, 4, 4, 4), joint[:, d:].reshape(n, 4, 4, 4), mixing @ mixing.T + 0.01 * torch.eye(2 * d)


def as_public(z_0, c):
    return Public(np.zeros((len(z_0), 8, 8, 3), np.uint8), z_0, c, [str(i) for i in range(len(z_0))], [""] * len(z_0))


@pytest.mark.parametrize("t_min", [0, 600, 990])
def test_algebra_solves_the_one_way_scheme_as_published(tiny, people, t_min):
    _, _, z_0, c = people
    t = torch.randint(t_min, tiny.schedule.steps, (1, len(z_0)), generator=generator(1))
    alpha, sigma = (f(t).float().view(1, -1, 1, 1, 1) for f in (tiny.schedule.alpha, tiny.schedule.sigma))
    eps = torch.randn((1, *z_0.shape), generator=generator(2))
    z_t = alpha * z_0 + sigma * eps
    h = one_way_input(c[None], z_t, "symsigmoid").half()
    before = z_t.clone(), h.clone()
    guess = attempt("algebraic", Scenario(Latents(z_t, t), Noise(eps), Mixed(h, "symsigmoid"), tiny))
    assert isinstance(guess, Guess)
    assert float((guess.z_0 - z_0).norm() / z_0.norm()) < 1e-3
    withheld = attempt("algebraic", Scenario(Latents(z_t, t), Mixed(h, "symsigmoid"), tiny))
    for found in (guess, withheld):  # one release: rounding swallows what little of c lies where f is flat
        assert float(torch.nn.functional.cosine_similarity(found.c.flatten(1), c.flatten(1)).min()) > 0.999
    assert torch.equal(z_t, before[0]) and torch.equal(h, before[1])


def test_algebra_on_a_sealed_record_is_no_better_than_the_linear_estimate(tiny, people):
    public, _, z_0, c = people
    scenario = sealing(tiny, 600, 200).push(z_0, c, generator(3)).having(tiny, public)
    plain, linear = (attempt(name, scenario) for name in ("algebraic", "linear_mmse"))
    prior = float((public.z_0.mean(0) - z_0).square().mean())
    assert float((linear.z_0 - z_0).square().mean()) < min(prior, float((plain.z_0 - z_0).square().mean()))
    assert float((linear.c - c).square().mean()) < float((plain.c - c).square().mean())


def test_files_are_taken_as_they_are(tiny, people):
    _, own, z_0, c = people
    scenario = sealing(tiny, -1, -1).push(z_0, c, generator(0)).having(tiny, Files(own.images))
    guess = attempt("algebraic", scenario)
    assert np.array_equal(guess.images, own.images) and guess.images is not own.images


def test_the_linear_estimate_is_the_gaussian_posterior_mean(tiny):
    """On Gaussian data with many public pictures it comes to the error that the true covariance allows."""
    z_0, c, covariance = toy(400, seed=1)
    known_z, known_c, _ = toy(6000, seed=2)
    v, w = 1.5, 0.3
    x, y = (t + var**0.5 * torch.randn(t.shape, generator=generator(k)) for k, (t, var) in enumerate(((z_0, v), (c, w))))
    seen = Evidence(x, torch.full((400,), v), y, torch.full((400,), w))
    found, found_c = linear_mmse.estimate(seen, as_public(known_z, known_c))
    d = z_0[0].numel()
    noise = torch.diag(torch.cat([torch.full((d,), v), torch.full((d,), w)]).double())
    left = covariance - covariance @ torch.linalg.solve(covariance + noise, covariance)
    assert float((found - z_0).square().mean()) == pytest.approx(float(left.diag()[:d].mean()), rel=0.05)
    assert float((found_c - c).square().mean()) == pytest.approx(float(left.diag()[d:].mean()), rel=0.05)


def test_the_linear_estimate_knows_nothing_where_nothing_leaked():
    known_z, known_c, _ = toy(500, seed=2)
    noise = 1e4 * torch.randn(5, 4, 4, 4, generator=generator(1))
    found, found_c = linear_mmse.estimate(Evidence(noise, torch.full((5,), 1e8), None, None), as_public(known_z, known_c))
    assert torch.allclose(found, known_z.mean(0).expand(5, -1, -1, -1), atol=0.02)
    assert torch.allclose(found_c, known_c.mean(0).expand(5, -1, -1, -1), atol=0.02)


def test_the_linear_estimate_reads_each_record_at_its_own_noise():
    z_0 = toy(60, seed=1)[0]
    public = as_public(*toy(2000, seed=2)[:2])
    v = torch.tensor([0.01, 9.0]).repeat(30)
    x = z_0 + v.sqrt().view(-1, 1, 1, 1) * torch.randn(z_0.shape, generator=generator(4))
    mixed, _ = linear_mmse.estimate(Evidence(x, v, None, None), public)
    alone, _ = linear_mmse.estimate(Evidence(x[::2], v[::2], None, None), public)
    assert torch.allclose(mixed[::2], alone, atol=1e-5)
    error = (mixed - z_0).square().flatten(1).mean(1)
    assert float(error[::2].mean()) < float(error[1::2].mean())


def test_shrinkage_goes_with_the_number_of_pictures():
    off = ~torch.eye(30, dtype=torch.bool)
    few, many = (linear_mmse.shrunk(torch.randn(n, 30, generator=generator(n)).double()) for n in (20, 20_000))
    raw = torch.randn(20, 30, generator=generator(20)).double()
    raw = (raw - raw.mean(0)).T @ (raw - raw.mean(0)) / 20
    assert float(few[off].abs().mean()) < 0.5 * float(raw[off].abs().mean())  # nothing is correlated: it shrinks to the diagonal
    assert float((many - torch.eye(30)).abs().max()) < 0.05


def test_averaging_needs_a_second_release_and_gains_by_it(tiny, people):
    public, _, z_0, c = people
    once = [sealing(tiny, 700, None).push(z_0, c, generator(k))[Latents] for k in range(8)]
    one = Scenario(once[0], public, tiny)
    assert attempt("averaging", one) == NoChannel((Releases,))
    many = Scenario(Latents(torch.cat([x.z for x in once]), torch.cat([x.n for x in once])), public, tiny)
    error = [float((attempt(name, s).z_0 - z_0).square().mean()) for name, s in (("linear_mmse", one), ("averaging", many))]
    assert error[1] < 0.6 * error[0]
    assert float(see(many, tiny.schedule).v[0]) == pytest.approx(float(see(one, tiny.schedule).v[0]) / 8)


def test_linkage_finds_the_picture_and_is_at_chance_on_noise(tiny, people):
    public, _, z_0, c = people
    candidates = Candidates(torch.cat([public.z_0[:40], z_0]), torch.cat([public.c[:40], c]))
    right = torch.arange(40, 40 + len(z_0))
    scenario = sealing(tiny, 600, 200).push(z_0, c, generator(3)).having(tiny, candidates)
    guess = attempt("linkage", scenario)
    assert guess.scores.shape == (len(z_0), 40 + len(z_0)) and torch.equal(guess.scores.argmax(1), right)
    noise = Latents(torch.randn((1, 400, *z_0.shape[1:]), generator=generator(8)), torch.full((1, 400), 999))
    blind = attempt("linkage", Scenario(noise, candidates, tiny)).scores.argmax(1)
    assert float((blind == right[0]).float().mean()) < 0.15
    near = tuple(value + 0.1 * torch.randn(value.shape, generator=generator(4)) for value in (candidates.z_0, candidates.c))
    few = Candidates(
        candidates.z_0, candidates.c, {"jpeg": lambda: Copies(np.zeros(3), *(value[40:43] for value in near), tiny.encode_pixels)}
    )
    ours = sealing(tiny, 600, 200).push(z_0, c, generator(3)).having(tiny, few)
    guess = attempt("linkage:jpeg", ours)
    assert torch.equal(guess.scores.argmax(1), torch.arange(3))  # of as many records as there are copies
    assert attempt("linkage:cropped", ours) == NoChannel((Candidates,))
    bare = sealing(tiny, 600, None).push(z_0, c, generator(3)).having(tiny, candidates)
    assert float((attempt("linkage", bare).scores.argmax(1) == right).float().mean()) > 0.9


def test_linkage_tries_how_much_a_crop_cut_off(tiny, people):
    """A crop, enlarged, is far from the picture's latents; made smaller again it is near."""
    _, own, _, _ = people
    images = own.images[::4]
    side = images.shape[1]
    cut = round(0.05 * side)
    cropped = np.stack([np.asarray(Image.fromarray(image[cut : side - cut, cut : side - cut]).resize((side, side))) for image in images])
    z_0 = tiny.encode_pixels(images)
    held = Copies(cropped, tiny.encode_pixels(cropped), z_0, lambda shown: (tiny.encode_pixels(shown), z_0))
    given = Scenario(
        *(sealing(tiny, 600, None).push(z_0, z_0, generator(3))[Latents],), tiny, Candidates(z_0, z_0, {"cropped": lambda: held})
    )
    guess = attempt("linkage:cropped", given)
    plain = linkage._likelihood(see(given, tiny.schedule), len(z_0), held.z_0, held.c)
    right = torch.arange(len(z_0))
    assert torch.equal(guess.scores.argmax(1), right) and bool((guess.scores >= plain).all())
    assert bool((guess.scores.diagonal() > plain.diagonal()).all())
    again = linkage._uncropped(cropped, 0.9)
    inner = slice(2 * cut, side - 2 * cut)
    far, near = (np.abs(shown[:, inner, inner].astype(float) - images[:, inner, inner]).mean() for shown in (cropped, again))
    assert near < 0.5 * far and linkage._uncropped(images, 1.0).shape == images.shape
