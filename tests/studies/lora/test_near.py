"""Copies of private pictures are found among drawn ones; likeness is told only where the judge tells these people apart."""

import numpy as np
import pytest

from sfumato.pictures import store
from sfumato.studies.lora import near
from sfumato.studies.lora.people import STYLE
from sfumato.studies.lora.question import Owned, Question

ASKED = Question(path="a.safetensors", knew="the file", fix="sfumato finetune x")


@pytest.fixture(scope="module")
def people():
    """People, three pictures of each: uint8 (30, 3, H, W, 3)."""
    found = store.distinct(STYLE, "public", 30, 3, seed=0, purpose="tests of near")
    return found.images.reshape(30, 3, *found.images.shape[1:])


def owned(images, names):
    return Owned(images=images.reshape(-1, *images.shape[-3:]), people=names)


@pytest.fixture(scope="module")
def sides(people):
    private = owned(people[:1], ("",) * 3)
    holdout = owned(people[1:25, :1], ("",) * 24)
    return private, holdout, people[27], people[28]  # and what an adapter of somebody else draws, and a base


def test_a_copy_among_drawn_pictures_is_found_and_shown_beside_the_private_one(sides):
    private, holdout, strangers, floor = sides
    seen = near.of(ASKED, np.concatenate([strangers, private.images[:1]]), floor, private, holdout)
    copies = next(figure for figure in seen.measured if figure.what == "near-copies")
    assert copies.value == pytest.approx(1 / 4) and copies.low > 0 and copies.high < 1 and copies.n == 4
    assert "near-copy" in {found.rule for found in seen.findings}
    assert len(seen.shown) == 2 and all(one.url.startswith("data:image/png") and one.label for one in seen.shown)
    assert "who or what is in the weights" in seen.answered


def test_strangers_are_no_copies_and_no_likeness(people, sides):
    private, holdout, _, floor = sides
    likeness = []
    for stranger in people[25:27, :1]:  # an adapter draws one face again and again: many pictures of it are no more sure than one
        seen = near.of(ASKED, np.concatenate([stranger] * 2), floor, private, holdout)
        assert "near-copy" not in {found.rule for found in seen.findings} and seen.measured[0].value == 0
        likeness.append(next(figure for figure in seen.measured if figure.what.startswith("likeness")))
    assert all(figure.n == 24 for figure in likeness) and min(figure.value for figure in likeness) < 0.9


def test_what_is_like_the_person_is_found_where_the_judge_fits_and_people_are_enough(people, sides):
    _, holdout, _, floor = sides
    own = Owned(images=people[0][:2], people=("anna", "anna"))
    seen = near.of(ASKED, people[0][2:], floor, own, holdout)
    figure = next(figure for figure in seen.measured if figure.what.startswith("likeness"))
    assert figure.value == 1 and 0.5 < figure.low < 1 and "identity" in {found.rule for found in seen.findings}
    few = Owned(images=holdout.images[:8], people=holdout.people[:8])
    seen = near.of(ASKED, people[0][2:], floor, own, few)
    assert "identity" not in {found.rule for found in seen.findings} and "not resolvable with 8" in seen.untested[0].why


def test_a_judge_that_does_not_fit_or_cannot_be_tried_is_said(sides):
    private, holdout, strangers, floor = sides
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8)
    unfit = near.of(ASKED, strangers, floor, Owned(images=noise[:3], people=("",) * 3), Owned(images=noise[3:], people=("",) * 3))
    alone = near.of(ASKED, strangers, floor, private, None)
    single = near.of(ASKED, strangers, floor, Owned(images=private.images[:1], people=("",)), holdout)
    for seen, said in ((unfit, "does not fit"), (alone, "--holdout"), (single, "two pictures of one person")):
        (open_,) = seen.untested
        assert said in open_.why and not any(figure.what.startswith("likeness") for figure in seen.measured)


def test_distances_are_one_less_the_cosine():
    a = np.array([[1.0, 0], [0, 2]])
    assert near.distances(a, a) == pytest.approx(np.array([[0, 1], [1, 0]]))
