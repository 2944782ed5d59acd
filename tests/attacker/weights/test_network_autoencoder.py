"""The attack: from an adapter to pictures, with what it says of how; what it lacks, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch

from adapters_support import adapter_of, output
from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import guided_extraction
from sfumato.attacker.weights import network_autoencoder as module
from sfumato.attacker.weights._autoencoder import Autoencoder, AutoencoderConfig
from sfumato.attacker.weights._layout import Layout
from sfumato.attacker.weights.base import Class, Guess, Published, Steps, attempt
from sfumato.attacker.weights.network_autoencoder import NEEDS, VARIANTS, Trained, pictures_under
from sfumato.core.device import autocast, choose_precision
from sfumato.core.randomness import generator
from sfumato.diffusion.sampling import sample


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(module.STEPS, "quick", 2)
    monkeypatch.setitem(module.DRAWS, "quick", 6)


@pytest.fixture(scope="module")
def trained(base):
    """Encoders that are fitted, and say something at random."""
    adapters = [adapter_of(base, seed) for seed in range(4)]
    layout, made = Layout.of(adapters[0]), {}
    for name in VARIANTS:
        model = Autoencoder(base, layout, AutoencoderConfig(encoder=name), steps=(50, 100))
        model.fit(torch.stack([layout.row(x.factors) for x in adapters]), torch.tensor([50, 50, 100, 100]))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if key.endswith(("head.weight", "map.weight")):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator(1)))
        model.facts = {"curve": [[10.0, 0.3, 0.2, 0.25]], "people": 4, "adapters": 8}
        made[name] = model.eval().requires_grad_(False)
    return Trained(made)


def scenario(base, trained, adapter=None, *more):
    return Scenario(base, Published(adapter or adapter_of(base, 7)), trained, *more)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_encoder_makes_pictures(base, trained, variant):
    before, told = output(base), []
    given = scenario(base, trained, None, Steps(80))
    guess = attempt(f"network_autoencoder:{variant}", given, tell=lambda done, total: told.append((done, total)))
    assert isinstance(guess, Guess) and guess.images.dtype == np.uint8 and guess.images.shape == (module.PICTURES["quick"], 32, 32, 3)
    assert guess.curve == [(10.0, 0.2)] and told[-1] == (6, 6) and guess.budget["drawn"] == 6  # of which those most alike are kept
    assert guess.budget["fine-tuning steps"] == "80, known" and guess.budget["public people"] == 4 and guess.budget["variant"] == variant
    assert torch.equal(output(base), before)  # the base is what it was


def test_the_same_seed_draws_the_same(base, trained):
    one, two, other = (attempt("network_autoencoder:probe", scenario(base, trained), seed=seed).images for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_a_control_reads_anothers_file_and_draws_with_the_victims_network(base, trained):
    own, another = adapter_of(base, 7), adapter_of(base, 8)
    usual = attempt("network_autoencoder:probe", scenario(base, trained, own)).images
    swapped = attempt("network_autoencoder:probe", scenario(base, trained, own, module.Another(another))).images
    same = attempt("network_autoencoder:probe", scenario(base, trained, own, module.Another(own))).images
    assert np.array_equal(same, usual) and not np.array_equal(swapped, usual)
    assert not np.array_equal(swapped, attempt("network_autoencoder:probe", scenario(base, trained, another)).images)


def test_what_it_lacks(base, trained):
    assert attempt("network_autoencoder:probe", Scenario()) == NoChannel(NEEDS)
    assert attempt("network_autoencoder:hypernet", scenario(base, Trained({"probe": trained.encoders["probe"]}))) == NoChannel((Trained,))


def test_what_was_done_to_an_unusual_adapter_is_said(base, trained):
    other = adapter_of(base, 7, rank=2, text_targets=())
    for variant in VARIANTS:
        budget = attempt(f"network_autoencoder:{variant}", scenario(base, trained, other)).budget
        assert budget["rank"] == ("2, factored anew by SVD at 3" if variant == "hypernet" else "2, taken as it is")
        assert budget["layers taken as zeros"] == 2 and budget["fine-tuning steps"].endswith("guessed")


def test_what_it_refuses(base, trained):
    usual = adapter_of(base, 7)
    name = next(iter(usual.factors))
    a, b = usual.factors[name]
    wrong = {
        "no finite numbers": {name: (a, b * float("nan"))},
        "an adapter for weights of": {name: (a, torch.cat([b, b]))},
        "other layers": None,
    }
    for said, change in wrong.items():
        adapter = (
            adapter_of(base, targets=("to_k",), text_targets=())
            if change is None
            else dataclasses.replace(usual, factors=usual.factors | change)
        )
        answer = attempt("network_autoencoder:probe", scenario(base, trained, adapter))
        assert isinstance(answer, Failed) and said in answer.cause
    stray = Adapter(factors=usual.factors | {"unet.nowhere": (a, b)}, alphas=usual.alphas | {"unet.nowhere": 1.0})
    assert "no such layer" in attempt("network_autoencoder:probe", scenario(base, trained, stray)).cause
    other = Scenario(dataclasses.replace(base), Published(usual), trained)
    assert isinstance(attempt("network_autoencoder:probe", other), Guess)  # the same weights: the same base
    changed = Scenario(dataclasses.replace(base), Published(usual), trained)
    changed[type(base)].__dict__["unet_fingerprint"] = "0" * 64
    assert "a network autoencoder for base" in attempt("network_autoencoder:probe", changed).cause
    assert isinstance(attempt("network_autoencoder:other", scenario(base, trained)), Failed)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_under_a_prompts_own_context_it_samples_as_under_the_prompt(base, guidance):
    prompts = ["a cat", "", "a dog"]
    with autocast(base.unet.device, choose_precision()):
        usual = sample(dataclasses.replace(base), prompts, generator=generator(3), steps=3, guidance=guidance)  # embeds anew
        ours = pictures_under(base, base.embed(prompts), steps=3, guidance=guidance, draws=generator(3))
    assert torch.allclose(usual, ours, atol=1e-5)


def test_guided_extraction_takes_the_embedding_in_place_of_a_prompt(base, trained, monkeypatch):
    monkeypatch.setitem(guided_extraction.STEPS, "quick", 2)
    monkeypatch.setitem(guided_extraction.DRAWS, "quick", 4)
    lacking = attempt("guided_extraction:embedded", Scenario(base, Published(adapter_of(base, 7)), Class("a")))
    assert lacking == NoChannel((Trained,))
    one, two = (attempt("guided_extraction:embedded", scenario(base, trained, None, Class("a")), seed=seed) for seed in (1, 1))
    assert one.budget["w"] == 3 and one.images.shape[1:] == (32, 32, 3) and (one.images == two.images).all()
    other = attempt("guided_extraction:w3", scenario(base, trained, None, Class("a")), seed=1)
    assert not np.array_equal(one.images, other.images)
