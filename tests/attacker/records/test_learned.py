"""The attacks that learn or sample: better than the prior on a weak seal of the shipped base, no better than it on noise."""

from functools import lru_cache, partial

import numpy as np
import pytest
import torch

from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Candidates, Captions, Conditions, Copies, Latents, Mechanism, People, Public, Scenario, Trained
from sfumato.attacker.records import _identity, _network, diffusion_prior, direct_identity, inverse_network, own_controlnet
from sfumato.attacker.records import base as attacks
from sfumato.attacker.records._evidence import Evidence, see
from sfumato.attacker.records.base import attempt
from sfumato.core.randomness import generator, seeded
from sfumato.diffusion.controlnet import new_controlnet
from tests_support import sealing


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Every attack at a size for tests."""
    monkeypatch.setattr(_identity, "STEPS", 400)
    for module in (inverse_network, direct_identity):
        monkeypatch.setattr(module, "learn", partial(_network.learn, batch=32))
    monkeypatch.setitem(inverse_network.STEPS, "quick", 40)
    monkeypatch.setitem(direct_identity.STEPS, "quick", 40)
    monkeypatch.setattr(direct_identity, "PROBE_STEPS", dict.fromkeys(direct_identity.PROBE_STEPS, 100))
    monkeypatch.setitem(diffusion_prior.STEPS, "quick", 5)
    monkeypatch.setitem(diffusion_prior.DRAWS, "quick", 2)
    monkeypatch.setitem(diffusion_prior.TUNING, "quick", 2)
    monkeypatch.setitem(own_controlnet.STEPS, "quick", 5)
    monkeypatch.setitem(own_controlnet.TRAINING, "quick", 2)


def scenario(tiny, people, n, m, *more):
    public, _, z_0, c = people
    mechanism = sealed(tiny, n, m)
    return mechanism.push(z_0, c, generator(3)).having(tiny, public, mechanism, *more)


sealed = lru_cache(sealing)  # one mechanism for a pair of steps: what is learned of it is learned once in this file


def error(guess, z_0):
    return float((guess.z_0 - z_0).square().mean())


def test_the_inverse_network_beats_the_prior_on_a_weak_seal_and_not_on_noise(tiny, people):
    public, _, z_0, _ = people
    prior = float((public.z_0.mean(0) - z_0).square().mean())
    weak = attempt("inverse_network", scenario(tiny, people, 200, -1))
    assert error(weak, z_0) < 0.6 * prior and weak.curve[-1][1] < weak.curve[0][1]
    assert weak.c.shape == z_0.shape and weak.budget["public pictures"] == len(public.z_0)
    blind = attempt("inverse_network", scenario(tiny, people, 999, None))
    assert error(blind, z_0) > 0.8 * prior


def test_the_same_seed_finds_the_same(tiny, people, monkeypatch):
    monkeypatch.setitem(inverse_network.STEPS, "quick", 3)
    runs = [attempt("inverse_network", scenario(tiny, people, 600, 200), seed=seed).z_0 for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_a_person_is_read_off_a_weak_seal(tiny, people):
    """The embedding of a private person's record is nearer to that person's pictures than to other people's."""
    public, own, _, _ = people
    given = scenario(tiny, people, 200, -1)
    guess = attempt("direct_identity", given)
    assert guess.embeddings.shape == (len(own), 128) and np.allclose(np.linalg.norm(guess.embeddings, axis=1), 1, atol=1e-5)
    pooled = attempt("pooling:records", given.having(People(torch.arange(len(own)) // 4)))
    assert nearer(pooled, own) > nearer(guess, own) > 0.04
    member, centres = _identity.people_of(public)
    number = sorted(set(public.identities))
    assert [number[k] for k in member.tolist()] == public.identities and centres.shape == (len(number), 128)
    assert torch.allclose(centres.norm(dim=1), torch.ones(len(number)), atol=1e-5)


def test_on_latents_without_noise_most_of_what_few_public_people_teach_is_seen(tiny, people):
    """The VAE takes little from an eye that was trained behind it; what is missing is what so few public people do not teach."""
    _, own, _, _ = people
    guess = attempt("direct_identity", scenario(tiny, people, -1, None))
    real = guess.embed(own.images)
    same = np.array([[a == b for b in own.identities] for a in own.identities])
    said, clean = (float(x[same].mean() - x[~same].mean()) for x in (guess.embeddings @ real.T, real @ real.T))
    assert said > 0.4 * clean > 0


def test_another_condition_is_another_record(tiny, people, monkeypatch):
    """What was said of a record is kept for who asks again: of that latent and that condition."""
    monkeypatch.setitem(direct_identity.STEPS, "quick", 3)
    given = scenario(tiny, people, 600, 200).rows(4)
    other = given.having(Conditions(given[Conditions].c.flip(1), given[Conditions].m))
    first, again, second = (attempt("direct_identity", one).embeddings for one in (given, given, other))
    assert np.array_equal(first, again) and not np.allclose(first, second)


def test_another_picture_of_the_person_is_found_by_who_is_on_it(tiny, people, monkeypatch):
    """Each record's person among other pictures, one of each; what was read of a record is not read again."""
    _, own, z_0, c = people
    rows, others = torch.arange(0, len(own), 4), list(range(1, len(own), 4))
    held = Copies(own.images[others], z_0[others], c[others], tiny.encode_pixels)
    mechanism = sealed(tiny, 200, -1)
    given = mechanism.push(z_0[rows], c[rows], generator(3)).having(tiny, people[0], mechanism)
    told = given.having(Candidates(z_0, c, {"another": lambda: held, "jpeg": lambda: held}))
    said = attempt("direct_identity", given)
    monkeypatch.setattr(direct_identity, "_observe", lambda *a: pytest.fail("it looked again"))
    guess = attempt("linkage:another", told)
    assert torch.allclose(guess.scores, torch.from_numpy(said.embeddings @ said.embed(held.images).T))
    rank = (guess.scores >= guess.scores.diagonal()[:, None]).sum(1).float()
    assert rank.mean() < 0.75 * (1 + len(rows)) / 2  # chance is the middle
    assert attempt("linkage:another", mechanism.push(z_0, c, generator(3)).having(tiny, told[Candidates])) == NoChannel((Public, Mechanism))


def test_at_a_glance_a_few_people_teach_an_eye_and_no_reader(tiny, people, monkeypatch):
    public, own, _, _ = people
    monkeypatch.setattr(direct_identity, "learn", lambda *a, **k: pytest.fail("it trained a reader"))
    monkeypatch.setattr(_identity, "GLANCE", 8)
    given = scenario(tiny, people, 200, -1)
    guess = attempt("direct_identity", given, effort="glance")
    assert guess.budget["public people"] == len(set(_identity.few(public).identities)) <= 8 < len(set(public.identities))
    assert nearer(guess, own) > 0.02 and _identity.few(public) is _identity.few(public)
    assert set(_identity.few(public).identities) <= set(public.identities)


def test_on_noise_a_person_is_not_read_off(tiny, people):
    _, own, _, _ = people
    given = scenario(tiny, people, 999, None)
    blind = attempt("direct_identity", given)
    assert nearer(blind, own) < 0.05
    assert nearer(attempt("pooling:records", given.having(People(torch.arange(len(own)) // 4))), own) < 0.1


def test_pooling_says_the_same_of_all_records_of_a_person(tiny, people):
    groups = torch.arange(len(people[1])) // 4
    given = scenario(tiny, people, 200, -1)
    assert attempt("pooling", given) == NoChannel((People,))
    alone, pooled = attempt("direct_identity", given), attempt("pooling", given.having(People(groups)))
    kept = direct_identity.trained(given, effort="quick", seed=0, tell=lambda *a: pytest.fail("it trained again"))
    assert kept[0] is direct_identity.trained(given.having(People(groups)), effort="quick", seed=0, tell=print)[0]  # one reader served both
    assert np.allclose(pooled.embeddings[0], pooled.embeddings[3]) and not np.allclose(pooled.embeddings[0], pooled.embeddings[4])
    mean = alone.embeddings[:4].mean(0)
    assert np.allclose(pooled.embeddings[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert pooled.budget["records of a person"] == 4


def test_pooling_looks_at_the_pictures_that_the_prior_draws(tiny, people):
    """Of records that hide nothing it sees what its head sees of the pictures themselves, averaged over each person."""
    public, own, z_0, _ = people
    given = scenario(tiny, people, -1, None).having(People(torch.arange(len(own)) // 4))
    pooled = attempt("pooling:pictures", given)
    real = _identity.learned(public)[0].embed(tiny.decode_pixels(z_0))
    means = real.reshape(-1, 4, real.shape[1]).mean(1)
    wanted = np.repeat(means / np.linalg.norm(means, axis=1, keepdims=True), 4, axis=0)
    assert (pooled.embeddings * wanted).sum(1).min() > 0.99


def test_what_depends_on_no_record_is_trained_once(tiny, people, monkeypatch):
    """The tuned base serves every scheme; the attacker's ControlNet serves every seal step, not every condition step."""
    made = []
    for module in (diffusion_prior, own_controlnet):
        fit = module.fit
        monkeypatch.setattr(module, "fit", lambda *a, fit=fit, module=module, **how: made.append(module) or fit(*a, **how))
    for n, m in ((500, 200), (700, 200), (700, 400)):
        given = scenario(tiny, people, n, m).rows(2)
        attempt("diffusion_prior:tuned", given, seed=11), attempt("own_controlnet:public", given, seed=11)
    assert made.count(diffusion_prior) == 1 and made.count(own_controlnet) == 2


def test_the_prior_fills_in_what_the_noise_hides(tiny, people):
    _, _, z_0, _ = people
    given = scenario(tiny, people, 600, None)
    plain = error(attempt("algebraic", given), z_0)
    found = {variant: error(attempt(f"diffusion_prior:{variant}", given), z_0) for variant in ("mean", "ddim", "sample")}
    assert max(found.values()) < 0.2 * plain and found["mean"] < found["sample"]


@pytest.mark.parametrize("row", ["diffusion_prior:mean", "diffusion_prior:ddim", "own_controlnet:public", "averaging"])
def test_what_makes_pictures_beats_the_mean_picture_on_a_weak_seal_and_not_on_noise(tiny, people, row):
    public, _, z_0, _ = people
    prior = float((public.z_0.mean(0) - z_0).square().mean())

    def found(n, m):
        given = scenario(tiny, people, n, m)
        latents = given[Latents]
        more = sealing(tiny, n, m).push(z_0, people[3], generator(4))[Latents]
        return error(attempt(row, given.having(Latents(torch.cat([latents.z, more.z]), torch.cat([latents.n, more.n])))), z_0)

    assert found(300, -1) < 0.6 * prior
    assert found(999, 999) > 0.8 * prior


def nearer(guess, own):
    """How much nearer what was said of records is to their people's pictures than to other people's."""
    same = np.array([[a == b for b in own.identities] for a in own.identities])
    similar = guess.embeddings @ guess.embed(own.images).T
    return float(similar[same].mean() - similar[~same].mean())


def test_pictures_of_a_person_lead_to_that_person_on_a_weak_seal_and_not_on_noise(tiny, people):
    _, own, _, _ = people
    groups = People(torch.arange(len(own)) // 4)
    weak, blind = (attempt("pooling:pictures", scenario(tiny, people, n, m).having(groups)) for n, m in ((200, -1), (999, None)))
    assert nearer(weak, own) > 0.4 and abs(nearer(blind, own)) < 0.25  # six people are six draws of a deviation of 0.1


def test_the_prior_takes_a_clean_latent_as_it_is(tiny, people):
    _, _, z_0, _ = people
    for variant in ("mean", "ddim"):
        assert error(attempt(f"diffusion_prior:{variant}", scenario(tiny, people, -1, None)), z_0) < 2e-3


def test_captions_that_leaked_are_used(tiny, people):
    _, own, _, _ = people
    bare, told = scenario(tiny, people, 800, None), scenario(tiny, people, 800, None, Captions(tuple(own.captions)))
    found = [attempt("diffusion_prior:ddim", given) for given in (bare, told)]
    assert not torch.allclose(found[0].z_0, found[1].z_0) and found[1].budget["captions"]


def test_the_best_of_several_draws_is_one_of_them(tiny, people, monkeypatch):
    given = scenario(tiny, people, 700, None).rows(6)
    made = []
    denoise = diffusion_prior.denoise
    monkeypatch.setattr(diffusion_prior, "denoise", lambda *a, **how: made.append(how["seed"]) or denoise(*a, **how))
    drawn = [attempt("diffusion_prior:sample", given, seed=k).z_0 for k in (0, 1)]
    best = attempt("diffusion_prior:best", given).z_0
    assert all(torch.equal(best[i], drawn[0][i]) or torch.equal(best[i], drawn[1][i]) for i in range(6))
    assert made == [0, 1]  # what was drawn once is chosen from, and not drawn again


def test_tuning_leaves_the_victims_base_alone(tiny, people):
    before = {name: value.clone() for name, value in tiny.unet.state_dict().items()}
    guess = attempt("diffusion_prior:tuned", scenario(tiny, people, 700, None).rows(4))
    assert guess.curve and guess.budget["tuning steps"] == 2
    assert all(torch.equal(value, before[name]) for name, value in tiny.unet.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tiny.unet.parameters())


def test_an_untrained_controlnet_adds_nothing_to_the_prior(tiny, people):
    """Its zero convolutions are zero, so the two attacks must agree."""
    trained = Trained(new_controlnet(tiny, generator=generator(0)).eval(), {"context": "zeros"})
    given = scenario(tiny, people, 600, 200, trained)
    alone, under = (attempt(name, given).z_0 for name in ("diffusion_prior:ddim", "own_controlnet:server"))
    assert torch.allclose(alone, under, atol=1e-4)


def test_what_a_controlnet_needs_is_asked_for_by_type(tiny, people):
    assert attempt("own_controlnet:server", scenario(tiny, people, 600, 200)) == NoChannel((Trained,))
    assert attempt("own_controlnet:server", scenario(tiny, people, 600, None)) == NoChannel((Conditions,))
    without = sealing(tiny, 600, 200).push(people[2], people[3], generator(3)).having(tiny)
    assert attempt("own_controlnet:public", without) == NoChannel((Public,))
    assert attempt("direct_identity", without) == NoChannel((Public, Mechanism))


def test_a_controlnet_of_the_attackers_own_is_trained(tiny, people):
    guess = attempt("own_controlnet:public", scenario(tiny, people, 600, 200).rows(4))
    assert guess.z_0.shape[0] == 4 and len(guess.curve) == 2 and guess.budget["training steps"] == 2


def test_evidence_enters_networks_at_unit_variance():
    z = torch.randn(200, 4, 8, 8, generator=generator(1))
    v = torch.full((200,), 9.0)
    seen = Evidence(z + 3 * torch.randn(z.shape, generator=generator(2)), v, None, None)
    shown = _network.inputs(seen)
    assert shown.shape == (200, _network.CHANNELS, 8, 8)
    assert float(shown[:, :4].var()) == pytest.approx(1, abs=0.03) and bool((shown[:, 5:] == 0).all())
    both = _network.inputs(Evidence(seen.x, v, z, torch.zeros(200)))
    assert torch.equal(both[:, 5:9], z) and bool((both[:, 9] < 0).all())


def test_readers_give_the_shapes_that_they_promise():
    shown = torch.randn(2, _network.CHANNELS, 16, 16, generator=generator(0))
    with seeded(0):
        to_latents, to_vector = (_network.Reader(out, pooled=pooled, width=16) for out, pooled in ((8, False), (128, True)))
    assert to_latents(shown).shape == (2, 8, 16, 16) and to_vector(shown).shape == (2, 128)


def test_nothing_that_was_given_is_changed(tiny, people, monkeypatch):
    given = scenario(tiny, people, 600, 200, People(torch.arange(len(people[1])) // 4))
    latents, conditions, public = given[Latents], given[Conditions], given[Public]
    monkeypatch.setitem(inverse_network.STEPS, "quick", 3)
    monkeypatch.setitem(direct_identity.STEPS, "quick", 3)
    before = [x.clone() for x in (latents.z, conditions.c, public.z_0, public.c)]
    trained = Trained(new_controlnet(tiny, generator=generator(0)).eval(), {"context": "zeros"})
    candidates = Candidates(
        people[2].clone(), people[3].clone(), {"jpeg": lambda: Copies(people[1].images, people[2], people[3], tiny.encode_pixels)}
    )
    kept = next(trained.controlnet.parameters()).clone()
    twice = Latents(latents.z.repeat(2, 1, 1, 1, 1), latents.n.repeat(2, 1))
    state = torch.random.get_rng_state()
    for name in ("algebraic", "linear_mmse", "inverse_network", "direct_identity", "diffusion_prior:mean", "diffusion_prior:tuned",
                 "own_controlnet:server", "own_controlnet:public", "pooling:records", "pooling:pictures", "linkage:exact",
                 "linkage:jpeg"):  # fmt: skip
        assert isinstance(attempt(name, given.having(trained, candidates).rows(8)), attacks.Guess), name
    assert torch.equal(torch.random.get_rng_state(), state)  # no global draw
    assert isinstance(attempt("averaging", given.having(twice).rows(8)), attacks.Guess) and torch.equal(twice.z[:1], before[0])
    assert torch.equal(next(trained.controlnet.parameters()), kept) and torch.equal(candidates.z_0, people[2])
    assert all(torch.equal(x, y) for x, y in zip((latents.z, conditions.c, public.z_0, public.c), before, strict=True))


def test_more_releases_are_one_look_with_less_noise(tiny, people):
    _, _, z_0, c = people
    once = [sealing(tiny, 800, None).push(z_0, c, generator(k))[Latents] for k in range(4)]
    pooled = Scenario(Latents(torch.cat([x.z for x in once]), torch.cat([x.n for x in once])), tiny)
    assert float(see(pooled, tiny.schedule).v[0]) < float(see(Scenario(once[0], tiny), tiny.schedule).v[0])
    assert error(attempt("diffusion_prior:mean", pooled), z_0) < error(attempt("diffusion_prior:mean", Scenario(once[0], tiny)), z_0)
