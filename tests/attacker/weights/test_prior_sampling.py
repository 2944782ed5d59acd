"""The baselines: what they sample, what they need, and that two of them do not look at the victim."""

import numpy as np
import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters.lora import attached
from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import prior_sampling
from sfumato.attacker.weights.base import Class, Guess, PublicPeople, Published
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.sampling import sample

QUICK = prior_sampling.PICTURES["quick"]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(prior_sampling, "STEPS", {"quick": 3, "full": 3})


@pytest.fixture(scope="module")
def public(base):
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    return PublicPeople(images, base.encode_pixels(images), ["a", "a", "b", "b", "b", "c"])


def scenario(base, *more):
    return Scenario(base, Published(adapter_of(base)), *more)


@pytest.mark.parametrize("variant", prior_sampling.VARIANTS)
def test_every_variant_guesses_pictures(base, public, variant):
    guess = weights.attempt(f"prior_sampling:{variant}", scenario(base, public, Class("a photo of peep")))
    assert isinstance(guess, Guess), guess
    assert guess.images.dtype == np.uint8 and guess.images.shape[1:] == (32, 32, 3) and 1 <= len(guess.images) <= QUICK
    assert guess.budget["variant"] == variant


@pytest.mark.parametrize(("variant", "prompt", "guidance"), [("class_prompt", "a peep", 3.0), ("null_prompt", "", 1.0)])
def test_they_are_samples_of_the_victim(base, variant, prompt, guidance):
    guess = weights.attempt(f"prior_sampling:{variant}", scenario(base, Class("a peep")), seed=5)
    with attached(base, adapter_of(base)), autocast(base.unet.device, choose_precision()):
        expected = sample(base, [prompt] * QUICK, generator=generator(5, 0), steps=3, guidance=guidance)
    assert np.array_equal(guess.images, base.decode_pixels(expected))


@pytest.mark.parametrize(
    ("variant", "missing"),
    [("class_prompt", Class), ("rare_tokens", Class), ("mean_picture", PublicPeople), ("random_person", PublicPeople)],
)
def test_what_a_variant_lacks_is_named(base, variant, missing):
    assert weights.attempt(f"prior_sampling:{variant}", scenario(base)) == NoChannel((missing,))


def test_the_null_prompt_needs_nothing_more(base):
    assert isinstance(weights.attempt("prior_sampling:null_prompt", scenario(base)), Guess)


def test_an_unknown_variant_is_answered_with_the_known(base):
    assert "class_prompt" in weights.attempt("prior_sampling:bogus", scenario(base)).cause


@pytest.mark.parametrize("variant", ["mean_picture", "random_person"])
def test_the_blind_baselines_do_not_depend_on_the_victim(base, public, variant):
    one, two = (
        weights.attempt(f"prior_sampling:{variant}", Scenario(base, Published(adapter_of(base, seed)), public), seed=1) for seed in (1, 2)
    )
    assert np.array_equal(one.images, two.images)


def test_the_mean_picture_is_the_mean_latent_decoded(base, public):
    guess = weights.attempt("prior_sampling:mean_picture", scenario(base, public))
    assert np.array_equal(guess.images, base.decode_pixels(public.z_0.mean(0, keepdim=True)))


def test_a_random_person_is_one_person_and_by_the_seed(base, public):
    seen = set()
    for seed in range(12):
        guess = weights.attempt("prior_sampling:random_person", scenario(base, public), seed=seed)
        rows = [next(i for i, image in enumerate(public.images) if np.array_equal(image, one)) for one in guess.images]
        people = {public.identities[i] for i in rows}
        assert len(people) == 1 and len(rows) == public.identities.count(*people)
        seen |= people
    assert seen == {"a", "b", "c"}


def test_rare_words_come_before_the_class():
    assert prior_sampling.rare("a photo of peep", "sks") == "a photo of sks peep"
    assert prior_sampling.rare("peep", "sks") == "sks peep" and prior_sampling.rare("", "sks") == "sks"


def test_rare_tokens_keep_the_pictures_most_alike(base, monkeypatch):
    shown = np.zeros((16, 32, 32, 3), np.uint8)
    shown[:, 0, 0, 0] = np.arange(16)
    alike = np.eye(16)
    own = [3, 6, 9, 12, 15]
    alike[np.ix_(own, own)] = 0.9
    monkeypatch.setattr(prior_sampling, "pictures", lambda victim, prompts, **how: shown)
    monkeypatch.setattr(prior_sampling, "similarity", lambda images: alike)
    guess = prior_sampling.run(scenario(base, Class("a peep")), effort="quick", seed=0, tell=lambda *x: None, variant="rare_tokens")
    assert set(guess.images[:, 0, 0, 0].tolist()) <= set(own) and len(guess.images) == QUICK


def test_inputs_are_left_alone(base, public):
    adapter = adapter_of(base)
    kept = {name: (a.clone(), b.clone()) for name, (a, b) in adapter.factors.items()}
    rng, images, z_0 = torch.get_rng_state(), public.images.copy(), public.z_0.clone()
    for variant in ("class_prompt", "mean_picture", "random_person"):
        weights.attempt(f"prior_sampling:{variant}", Scenario(base, Published(adapter), public, Class("a peep")))
    assert all(torch.equal(x, y) for name in kept for x, y in zip(kept[name], adapter.factors[name], strict=True))
    assert torch.equal(rng, torch.get_rng_state()) and np.array_equal(images, public.images) and torch.equal(z_0, public.z_0)
