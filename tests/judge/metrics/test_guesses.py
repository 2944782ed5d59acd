"""Guesses are scored against the truth beside what anybody could guess: the truth scores full marks, noise scores chance."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfumato.attacker.records.base import Guess
from sfumato.diffusion.base import load_base
from sfumato.judge.metrics import guesses
from sfumato.judge.metrics.adherence import edges_of
from sfumato.judge.metrics.guesses import Prior, Truth
from sfumato.judge.metrics.identity import Gallery, judges
from sfumato.judge.metrics.probes import fit_probes
from sfumato.pictures import store

PEOPLE = 16


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module")
def drawn():
    return store.distinct("open-peeps", "recombined", PEOPLE, 3, seed=5, purpose="test")


@pytest.fixture
def truth(drawn, monkeypatch):
    """One picture of each person is attacked, two others are in a gallery that is smaller than a study's."""
    small = Gallery.of
    monkeypatch.setattr(guesses.Gallery, "of", lambda *a, **k: small(*a, **{**k, "minimum": 2}))
    images, people = drawn.images[::3], drawn.identities[::3]
    others = [i for i in range(len(drawn)) if i % 3]
    gallery = drawn.images[others], [drawn.identities[i] for i in others]
    return Truth(images, edges_of(images), drawn.captions[::3], people, np.arange(len(images)), gallery)


@pytest.fixture
def prior(drawn):
    """Strangers, and a grey picture."""
    strangers = store.distinct("open-peeps", "unseen_part", PEOPLE, 1, seed=6, purpose="test").images
    return Prior(strangers, np.full_like(strangers, 128))


def score(guess, truth, prior, tiny):
    return guesses.score(guess, truth, prior, tiny, condition="canny", seed=0)


def test_the_truth_scores_full_marks_and_beats_the_prior(tiny, truth, prior):
    cells = score(Guess(images=truth.images.copy()), truth, prior, tiny)
    assert set(cells) == {"picture", "person", "condition"}
    assert cells["picture"]["score"] == pytest.approx(1) and cells["condition"]["score"] == 1
    assert cells["person"]["score"] > 0.7 > cells["person"]["prior_only"]
    assert cells["person"]["chance"] == 1 / PEOPLE and cells["person"]["gallery"] == PEOPLE
    verdicts = guesses.judged({name: {**cell, "target": name} for name, cell in cells.items()})
    assert all(found["effective"] and found["verdict"] == "effective" for found in verdicts.values())
    assert all(cell["low"] <= cell["score"] <= cell["high"] and cell["n"] == PEOPLE for cell in cells.values())


def test_what_the_prior_guesses_is_not_effective(tiny, truth, prior):
    for images in (prior.drawn, prior.mean):
        cells = score(Guess(images=images.copy()), truth, prior, tiny)
        found = guesses.judged({name: {**cell, "target": name} for name, cell in cells.items()})
        assert not any(cell["effective"] for cell in found.values())
        assert all(cell["difference"][0] <= 1e-9 for cell in cells.values())


def test_latents_are_decoded_and_the_vae_is_the_ceiling(tiny, truth, prior):
    z_0 = tiny.encode_pixels(truth.images)
    cells = score(Guess(z_0=z_0), truth, prior, tiny)
    assert 0.7 < cells["picture"]["score"] < 1 and cells["picture"]["beside"]["psnr"] > 20
    noise = score(Guess(z_0=torch.randn(z_0.shape, generator=torch.Generator().manual_seed(0))), truth, prior, tiny)
    assert noise["picture"]["score"] < noise["picture"]["prior_only"] + 0.05 and noise["person"]["score"] < 0.3


def test_of_the_condition_that_was_found_and_the_pictures_edges_the_better_counts(tiny, truth, prior):
    white = np.repeat(truth.edges[..., None].astype(np.uint8) * 255, 3, axis=-1)
    c = tiny.encode_pixels(white)
    cells = score(Guess(z_0=torch.zeros_like(c), c=c), truth, prior, tiny)
    assert cells["condition"]["score"] > 0.9 > cells["condition"]["prior_only"]
    assert score(Guess(c=c), truth, prior, tiny).keys() == {"condition"}
    seen = score(Guess(images=truth.images.copy(), c=torch.zeros_like(c)), truth, prior, tiny)
    assert seen["condition"]["score"] == 1


def test_embeddings_are_scored_in_their_own_space(tiny, truth, prior):
    def flipped(images):
        return judges().embed(images)[:, ::-1].copy()

    cells = score(Guess(embeddings=flipped(truth.images), embed=flipped), truth, prior, tiny)
    same = score(Guess(images=truth.images), truth, prior, tiny)
    assert cells.keys() == {"person"} and cells["person"]["score"] == same["person"]["score"]
    assert cells["person"]["prior_only"] < 0.3 and cells["person"]["beside"]["auc"] > 0.9
    blind = np.random.default_rng(0).normal(size=(PEOPLE, 128))
    assert score(Guess(embeddings=blind, embed=flipped), truth, prior, tiny)["person"]["score"] < 0.3


def test_what_a_reader_says_of_others_is_no_guess_without_records(tiny, truth, prior):
    two = np.array([0, 1])
    guess = Guess(embeddings=judges().embed(truth.images), embed=judges().embed)
    cells = score(guess, replace(truth, probes=two, _made={}), prior, tiny)
    assert cells["person"]["score"] == 1 and cells["person"]["guess"] == cells["person"]["chance"] == 1 / PEOPLE


def test_one_persons_pictures_stand_each_for_itself(tiny, truth, prior):
    alone = replace(truth, people=[truth.people[0]] * PEOPLE, _made={})
    cells = score(Guess(images=truth.images.copy()), alone, prior, tiny)
    assert cells["picture"]["people"] == PEOPLE and cells["picture"]["score"] == pytest.approx(1)


def test_prompts_and_candidates(tiny, truth, prior):
    cells = score(Guess(prompts=list(truth.captions), scores=torch.eye(PEOPLE)), truth, prior, tiny)
    assert cells["prompt"]["score"] == 1 and cells["prompt"]["beside"]["exact"] == 1 and cells["prompt"]["prior_only"] < 0.9
    assert cells["candidate"]["score"] == 1 and cells["candidate"]["chance"] == 1 / PEOPLE
    assert cells["candidate"]["beside"]["top-5"] == 1
    ranked = 2 * torch.eye(PEOPLE).roll(1, 0) + torch.eye(PEOPLE)  # the right one comes second
    wrong = score(Guess(prompts=[""] * PEOPLE, scores=ranked), truth, prior, tiny)
    assert wrong["prompt"]["score"] == 0 and wrong["candidate"]["score"] == 0 and wrong["candidate"]["beside"]["top-5"] == 1
    blind = score(Guess(scores=torch.zeros(PEOPLE, PEOPLE)), truth, prior, tiny)
    assert blind["candidate"]["beside"]["top-5"] == 0  # whoever says the same of all says nothing


def test_an_attack_on_fewer_records_is_scored_on_those(tiny, truth, prior):
    cells = score(Guess(images=truth.images[:8].copy()), truth, prior, tiny)
    assert all(cell["n"] == 8 for cell in cells.values())


def test_others_are_never_the_same_person():
    people = ["a", "a", "b", "c", "c"]
    found = guesses._others(people, 0)
    assert all(people[k] != people[i] for i, k in enumerate(found.tolist()))
    assert guesses._others(["a", "a"], 0).tolist() == [1, 0]  # nobody else is there


def test_words_are_compared_as_sets():
    assert guesses._shared("a peep, red hair", "red hair a peep") == 1 and guesses._shared("", "x") == 0
    assert guesses._shared("a b", "b c") == pytest.approx(1 / 3)


def test_only_the_rows_that_are_looked_for_count_for_people(tiny, truth, prior):
    images = truth.images.copy()
    images[1::2] = 0
    some = replace(truth, probes=np.arange(0, PEOPLE, 2), _made={})
    cells = score(Guess(images=images), some, prior, tiny)
    assert cells["person"]["n"] == PEOPLE // 2 and cells["picture"]["n"] == PEOPLE
    assert cells["person"]["score"] > 0.7 > score(Guess(images=images), truth, prior, tiny)["person"]["score"]
    assert "person" not in score(Guess(images=images[:4]), replace(truth, probes=np.array([9]), _made={}), prior, tiny)


def test_errors_of_latents_are_told_beside(tiny, truth, prior):
    z_0, c = (torch.randn(PEOPLE, *tiny.latent_shape, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    known = replace(truth, latents=(z_0, c), _made={})
    cells = score(Guess(z_0=1.5 * z_0, c=c.clone()), known, prior, tiny)
    assert cells["picture"]["beside"]["latent error"] == pytest.approx(0.5) and cells["condition"]["beside"]["latent error"] == 0
    assert "latent error" not in score(Guess(z_0=z_0), truth, prior, tiny)["picture"]["beside"]


def test_a_condition_that_cannot_be_extracted_is_scored_where_it_was_guessed(tiny, truth, prior):
    c = tiny.encode_pixels(np.repeat(truth.edges[..., None].astype(np.uint8) * 255, 3, axis=-1))
    cells = guesses.score(Guess(images=truth.images.copy(), c=c), truth, prior, tiny, condition=None, seed=0)
    assert cells["condition"]["score"] > 0.9
    assert "condition" not in guesses.score(Guess(images=truth.images.copy()), truth, prior, tiny, condition=None, seed=0)


def test_attributes_are_read_off_guesses_where_there_are_probes(tiny, truth, prior, drawn):
    seen = guesses.described(drawn.images, guesses.features(drawn.images, size=128))
    probes = fit_probes(seen, drawn.attributes, ["skin"])
    known = replace(truth, attributes=(lambda: probes, drawn.attributes[::3]), _made={})
    beside = score(Guess(images=truth.images.copy()), known, prior, tiny)["picture"]["beside"]
    assert beside["skin"] == 1 > beside["skin by the prior"]
    assert "skin" not in score(Guess(images=truth.images.copy()), truth, prior, tiny)["picture"]["beside"]


def test_linkage_among_fewer_candidates_is_that_of_random_line_ups():
    draws = np.random.default_rng(0)
    scores = draws.standard_normal((30, 60))
    own = draws.integers(0, 60, 30)
    exact = guesses._among(scores, own, 10)
    tried = []
    for _ in range(2000):
        row = int(draws.integers(30))
        others = draws.choice(np.delete(np.arange(60), own[row]), 9, replace=False)
        tried.append(scores[row, own[row]] > scores[row, others].max())
    assert exact == pytest.approx(np.mean(tried), abs=0.03)
    assert guesses._among(np.eye(60), np.arange(60), 10) == 1


def test_what_a_prior_scores_is_asked_once_for_each_truth():
    prior = guesses.Prior(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.uint8))
    truths = [
        guesses.Truth(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16), bool), ["", ""], ["a", "b"], np.arange(2)) for _ in "ab"
    ]
    asked = []
    for number, what in ((0, "drawn"), (0, "drawn"), (1, "drawn"), (0, "mean"), (1, "drawn")):
        found = prior.against(truths[number], what, lambda number=number, what=what: asked.append((number, what)) or np.array([number]))
        assert found.tolist() == [number]
    assert asked == [(0, "drawn"), (1, "drawn"), (0, "mean")]
