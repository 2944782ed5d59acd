"""The judge of a comparison tells real pictures of a style from others, and whether pictures follow their prompts."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.features.colour import colour_histogram
from sfumato.pictures import store
from sfumato.studies.training import judging

COUNT = 16


def _features(images, *, size):
    return colour_histogram(images)


@pytest.fixture(scope="module", params=["personas", store.FILL50K])
def judge(request):
    """Fitted on few pictures, by their colours: features of a network take longer, and tell more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "SHOWN", 40)
        patch.setattr(judging, "PROBED", 160)
        patch.setattr(judging, "features", _features)
        yield judging.Judge(request.param, COUNT, seed=0, frechet=request.param == store.FILL50K)


def test_real_pictures_have_their_style_and_those_of_another_have_not(judge):
    style = judge.style.name
    real = store.load(style, "held_out", COUNT, seed=9).images
    other = store.load(judging.PUBLIC_STYLES[0], "held_out", COUNT, seed=9).images
    right, wrong = judge(real)["style"], judge(other)["style"]
    assert right["accuracy"] > 0.6 and right["share"]["mean"] > 0.6 > 0.2 > wrong["share"]["mean"]
    assert right["share"]["n"] == COUNT and right["colour_distance"] < wrong["colour_distance"] <= 1


def test_the_accuracy_is_of_pictures_that_are_neither_asked_for_nor_learned_from(judge):
    asked, other = judge.asked.images, judge.other.images
    known = {one.tobytes() for one in asked}
    assert len(asked) == len(other) == COUNT and sum(one.tobytes() in known for one in other) < COUNT / 2


def test_pictures_that_were_asked_for_follow_their_prompts_and_others_do_not(judge):
    if judge.style.name == store.FILL50K:
        assert judge.probes is None and "prompt_agreement" not in judge(judge.asked.images)
        return
    right = judge(judge.asked.images)["prompt_agreement"]
    assert set(right) == {"background", "skin", "hair"} and right["background"]["mean"] > 0.9
    assert all(one["n"] == COUNT and one["low"] <= one["mean"] <= one["high"] for one in right.values())
    wrong = judge(np.full_like(judge.asked.images, 7))["prompt_agreement"]
    assert wrong["background"]["mean"] < 0.5 and right["hair"]["mean"] > wrong["hair"]["mean"]


def test_the_frechet_distance_is_there_where_it_was_asked_for(judge):
    said = {name: judge(images) for name, images in (("real", judge.other.images), ("black", np.zeros_like(judge.other.images)))}
    if not judge.frechet:
        assert all("fd_efflite0" not in one for one in said.values())
    else:
        assert said["real"]["fd_efflite0"]["value"] < said["black"]["fd_efflite0"]["value"] and said["real"]["fd_efflite0"]["n"] == COUNT


def test_of_pictures_of_any_kind_nothing_more_is_said():
    assert judging.nothing_more(np.zeros((1, 8, 8, 3), np.uint8)) == {}
