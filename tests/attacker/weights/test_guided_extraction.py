"""eps_base + w (eps_ft - eps_base): both ends exact, straight between them; what is kept of the draws."""

import dataclasses

import numpy as np
import pytest
import torch

from adapters_support import adapter_of
from sfumato.attacker.attempt import NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import guided_extraction
from sfumato.attacker.weights._sampling import adapted
from sfumato.attacker.weights.base import Class, Guess, Published, Trigger
from sfumato.core.randomness import generator
from sfumato.diffusion.base import load_base
from sfumato.diffusion.sampling import sample

PROMPT = "a sks peep"


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(guided_extraction, "STEPS", {"quick": 3, "full": 3})
    monkeypatch.setattr(guided_extraction, "DRAWS", {"quick": 6, "full": 6})


def predicted(base, victim, w):
    """What a sampler gets of the stand-in, at fixed noise."""
    mixed = guided_extraction.between(base, victim, PROMPT, w)
    z_t = torch.randn((2, 4, 8, 8), generator=generator(7))
    with torch.no_grad():
        return mixed.unet(z_t, torch.tensor(300), encoder_hidden_states=victim.embed([PROMPT] * 2)).sample


def of(base):
    z_t = torch.randn((2, 4, 8, 8), generator=generator(7))
    with torch.no_grad():
        return base.unet(z_t, torch.tensor(300), encoder_hidden_states=base.embed([PROMPT] * 2)).sample


def test_w_0_is_the_base_and_w_1_the_victim(base):
    with adapted(base, adapter_of(base)) as victim:
        assert torch.equal(predicted(base, victim, 0.0), of(base))
        assert torch.equal(predicted(base, victim, 1.0), of(victim))
        assert not torch.allclose(of(base), of(victim), atol=1e-3)


@pytest.mark.parametrize("w", [0.5, 2.0, 5.0])
def test_it_is_straight_in_w(base, w):
    with adapted(base, adapter_of(base)) as victim:
        assert torch.allclose(predicted(base, victim, w), of(base) + w * (of(victim) - of(base)), atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_pictures_at_w_1_and_w_0_are_those_of_the_victim_and_of_the_base(base, kind):
    base = dataclasses.replace(base, prediction_type=kind)

    def drawn(which):
        return sample(which, [PROMPT] * 2, generator=generator(3), steps=4, guidance=1.0)

    with adapted(base, adapter_of(base)) as victim:
        assert torch.equal(drawn(guided_extraction.between(base, victim, PROMPT, 1.0)), drawn(victim))
        assert torch.equal(drawn(guided_extraction.between(base, victim, PROMPT, 0.0)), drawn(base))


def test_an_adapter_that_does_nothing_gives_the_base_at_every_w(base):
    adapter = adapter_of(base)
    nothing = dataclasses.replace(adapter, factors={name: (a, torch.zeros_like(b)) for name, (a, b) in adapter.factors.items()})
    with adapted(base, nothing) as victim:
        assert torch.allclose(predicted(base, victim, 5.0), of(base), atol=1e-5)


@pytest.mark.parametrize("variant", [name for name in guided_extraction.VARIANTS if name != "embedded"])
def test_every_variant_guesses_pictures_and_repeats_itself(base, variant):
    scenario = Scenario(base, Published(adapter_of(base)), Class("a peep"))
    one, two = (weights.attempt(f"guided_extraction:{variant}", scenario, seed=2) for _ in range(2))
    assert isinstance(one, Guess), one
    assert one.images.shape == (4, 32, 32, 3) and np.array_equal(one.images, two.images)
    assert one.budget["w"] == guided_extraction.W[variant] and sum(one.budget["cliques"]) == 6


def test_the_leaked_trigger_goes_before_the_class(base):
    scenario = Scenario(base, Published(adapter_of(base)), Class("a peep"))
    assert weights.attempt("guided_extraction:w2", scenario).budget["prompt"] == "a peep"
    assert weights.attempt("guided_extraction:w2", scenario.having(Trigger(PROMPT))).budget["prompt"] == PROMPT


def test_without_a_prompt_there_is_no_channel(base):
    assert weights.attempt("guided_extraction:w3", Scenario(base, Published(adapter_of(base)))) == NoChannel((Trigger, Class))


def test_centres_of_cliques_come_first_the_largest_cliques_before_the_others(base, monkeypatch):
    shown = np.zeros((6, 32, 32, 3), np.uint8)
    shown[:, 0, 0, 0] = np.arange(6)
    points = np.array([0.0, 50.0, 0.2, 50.1, 0.1, 99.0])  # cliques {0, 2, 4} about 4, {1, 3}, {5}
    monkeypatch.setattr(guided_extraction, "pictures", lambda *x, **how: shown)
    monkeypatch.setattr(guided_extraction, "similarity", lambda images: -np.abs(points[:, None] - points))
    guess = weights.attempt("guided_extraction:w3", Scenario(base, Published(adapter_of(base)), Class("a peep")))
    first = guess.images[:, 0, 0, 0].tolist()
    assert first[0] == 4 and first[1] in (1, 3) and first[2] == 5 and first[3] in (0, 2)


def test_the_base_is_left_as_it_was(mini):
    base = load_base(str(mini))
    before, rng = of(base), torch.get_rng_state()
    weights.attempt("guided_extraction:w3", Scenario(base, Published(adapter_of(base)), Class("a peep")))
    assert torch.equal(of(base), before) and torch.equal(rng, torch.get_rng_state())
