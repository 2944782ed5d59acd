"""Scores on the base that ships: what no arm may change, and the two ends of the scale."""

import numpy as np
import pytest

from sfumato.diffusion.base import load_base
from sfumato.judge.metrics import adherence as scores
from sfumato.studies.training.held_out import HeldOut


@pytest.fixture(scope="module")
def tiny():
    return load_base()


@pytest.fixture(scope="module")
def held_out(tiny):
    return HeldOut.draw(tiny, "open-peeps", 6, condition="canny", seed=0)


def test_the_shipped_base_keeps_pictures_and_edges(tiny, held_out):
    back = tiny.decode_pixels(tiny.encode_pixels(held_out.images)).astype(float)
    assert 20 * np.log10(255 / np.sqrt(np.mean((back - held_out.images) ** 2))) > 20
    assert held_out.f1_vae.mean() > 0.9


def test_latents_have_unit_standard_deviation(tiny, held_out):
    assert float(tiny.encode_pixels(held_out.images).std()) == pytest.approx(1, abs=0.25)


def test_the_base_alone_is_at_chance_and_the_truth_at_the_ceiling(tiny, held_out):
    alone = held_out.score(tiny)
    assert alone.pictures.shape == held_out.images.shape and alone.adherence["mean"] < 0.5
    draw = np.random.default_rng(0)
    perfect = scores.adherence(
        held_out.f1_vae, scores.shuffled_f1(held_out.edges, held_out.edges, generator=draw), held_out.f1_vae, generator=draw
    )
    assert perfect.mean == pytest.approx(1)
    assert held_out.ratio(alone, alone)["mean"] == pytest.approx(1)
