"""Identities read off weights: the same for every way of writing an adapter, learned from what is there, and nothing where nothing is."""

import dataclasses

import numpy as np
import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters.lora import Adapter
from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import read_identity as attack
from sfumato.attacker.weights._layout import Layout
from sfumato.attacker.weights._shadows import PublicAdapters, Shadow, Shadows
from sfumato.attacker.weights.base import Guess, LineUp, PublicPeople, Published
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator

D, SIDE, PEOPLE = 6, 8, 150
LAYOUT = Layout({"unet.x": (SIDE, SIDE), "unet.y": (SIDE, SIDE)}, {"unet.x": float(SIDE), "unet.y": float(SIDE)}, SIDE)


def planted(places, noise=0.3, seed=0):
    """Adapters ``(n, ...)`` whose every layer adds a linear function of where its person lies, and something of its own."""
    draws, factors = generator(seed), {}
    for k, name in enumerate(LAYOUT.sides):
        directions = torch.randn((places.shape[1], SIDE, SIDE), generator=generator(99, k))
        delta = torch.einsum("nd,dij->nij", places, directions)
        delta = delta + noise * torch.randn(delta.shape, generator=draws)
        a = torch.randn((len(places), SIDE, SIDE), generator=draws)
        factors[name] = a, delta @ torch.linalg.inv(a)
    return factors


def places_of(count, seed=0):
    return torch.nn.functional.normalize(torch.randn((count, D), generator=generator(7, seed)), dim=1)


def hits(reader, sketch, places, *, precise=True):
    read = reader.read(sketch(planted(places, seed=5)))
    return float(
        np.mean([int(attack.ranked(one, places, reader.precision if precise else None).argmax()) == k for k, one in enumerate(read)])
    )


@pytest.mark.parametrize("precise", [True, False])
def test_people_who_were_never_seen_are_named_where_weights_say_who_they_are(precise):
    sketch, places = attack.Sketch.of(LAYOUT), places_of(PEOPLE)
    reader = attack.fitted(sketch, sketch(planted(places)), torch.arange(PEOPLE), places, None)
    others = places_of(40, seed=1)
    assert hits(reader, sketch, others, precise=precise) > 0.6 and reader.facts["set aside, top-1"] > 0.4
    wrong = attack.fitted(
        sketch, sketch(planted(places[torch.randperm(PEOPLE, generator=generator(1))])), torch.arange(PEOPLE), places, None
    )
    assert hits(wrong, sketch, others, precise=precise) < 0.2 and wrong.facts["set aside, top-1"] < 0.1


def test_nobody_is_set_aside_beside_adapters_of_their_own():
    """The people's adapters after several numbers of steps are held out together: noise that they share teaches nothing."""
    sketch, places = attack.Sketch.of(LAYOUT), places_of(60)
    factors = planted(torch.zeros_like(places), noise=1.0)  # says nothing of where anybody lies, but who it is
    rows = sketch(factors).repeat(3, 1)
    reader = attack.fitted(sketch, rows, torch.arange(60).repeat(3), places, None)
    assert reader.facts["set aside, top-1"] < 0.15 and reader.facts["public adapters"] == 180


def test_a_sketch_is_the_same_for_every_way_of_writing_an_adapter_and_for_every_size():
    sketch, factors = attack.Sketch.of(LAYOUT), planted(places_of(4))
    turn = torch.linalg.qr(torch.randn(SIDE, SIDE, generator=generator(3))).Q + 0.5 * torch.eye(SIDE)
    again = {name: (turn @ a, 2.0 * b @ torch.linalg.inv(turn)) for name, (a, b) in factors.items()}
    assert torch.allclose(sketch(again), sketch(factors), atol=1e-4)
    assert not torch.allclose(sketch(planted(places_of(4, seed=2))), sketch(factors), atol=0.1)
    nothing = sketch({name: (a, torch.zeros_like(b)) for name, (a, b) in factors.items()})
    assert bool((nothing == 0).all())


def test_likelihood_looks_less_where_errors_are_large():
    read, candidates = torch.zeros(2), torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    loose = torch.diag(torch.tensor([0.01, 1.0]))
    assert int(attack.ranked(read, candidates, loose).argmax()) == 0 and int(attack.ranked(read, candidates, torch.eye(2)).argmax()) == 1


def test_precision_is_that_of_the_errors():
    errors = torch.randn((4000, 3), generator=generator(1)) * torch.tensor([1.0, 2.0, 3.0])
    found = torch.linalg.inv(attack._precision(errors)).diagonal()
    mean = (1 + 4 + 9) / 3
    assert torch.allclose(found, 0.9 * torch.tensor([1.0, 4.0, 9.0]) + 0.1 * mean, rtol=0.1)


# ---------------------------------------------------------------- the whole attack


@pytest.fixture
def world(base, monkeypatch):
    """Public people with adapters on the base, and a line-up; a head that learns in no time."""
    train = attack.identity.train
    monkeypatch.setattr(attack.identity, "train", lambda described, who, seed: train(described, who, seed=seed, steps=2))
    count = 2 * attack.FOLDS
    images = np.random.default_rng(0).integers(0, 255, (count, 32, 32, 3), np.uint8)
    names = tuple(f"public {k}" for k in range(count))
    adapters = [adapter_of(base, seed) for seed in range(count)]
    layout = Layout.of(adapters[0])
    shadows = tuple(Shadow(layout.row(dict(adapter.factors))[None], torch.tensor([8]), torch.zeros(1, 4, 8, 8)) for adapter in adapters)
    shown = np.random.default_rng(1).integers(0, 255, (4, 2, 32, 32, 3), np.uint8)
    return {
        "public": PublicAdapters(Shadows(layout, shadows), names),
        "people": PublicPeople(images, torch.zeros(count, 4, 8, 8), list(names)),
        "line up": LineUp(shown, torch.zeros(4, 2, 4, 8, 8)),
    }


@pytest.mark.parametrize("variant", attack.VARIANTS)
def test_every_way_of_writing_an_adapter_ranks_a_line_up_alike(base, world, variant):
    adapter = adapter_of(base, 77)
    draws = generator(5)
    written = {}
    for name, (a, b) in adapter.factors.items():
        turn = torch.linalg.qr(torch.randn((len(a), len(a)), generator=draws)).Q * 1.5
        written[name] = turn @ a, b @ torch.linalg.inv(turn)
    first, second = (
        weights.attempt(f"read_identity:{variant}", Scenario(base, Published(one), *world.values()))
        for one in (adapter, Adapter(factors=written, alphas=adapter.alphas))
    )
    assert isinstance(first, Guess) and isinstance(second, Guess) and first.scores.shape == (4,) and first.images is None
    assert torch.allclose(first.scores, second.scores, rtol=1e-3, atol=1e-4) and first.budget["public people"] == 2 * attack.FOLDS
    assert len(first.scores.unique()) == 4


def test_no_public_adapters_no_attack_and_too_few_are_said(base, world):
    known = Scenario(base, Published(adapter_of(base)), world["people"], world["line up"])
    assert weights.attempt("read_identity:cosine", known) == NoChannel((PublicAdapters,))
    public = world["public"]
    few = PublicAdapters(dataclasses.replace(public.shadows, people=public.shadows.people[:3]), public.identities[:3])
    said = weights.attempt("read_identity:cosine", known.having(few))
    assert isinstance(said, Failed) and "3 public people" in said.cause


def test_everybody_whose_adapter_is_public_needs_pictures(world):
    with pytest.raises(UserError, match="no picture of 'public 1'"):
        attack._means(np.zeros((1, D)), ["public 0"], ["public 0", "public 1"])
    with pytest.raises(UserError, match="a name for each"):
        PublicAdapters(world["public"].shadows, ("one",))
