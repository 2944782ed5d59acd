"""The victim beside the undamaged base, and which draws are alike."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from adapters_support import adapter_of, output
from sfumato.attacker.weights._sampling import adapted, apart, cliques, pictures, similarity
from sfumato.core.errors import UserError


def test_the_victim_computes_with_the_adapter_and_the_base_does_not(base):
    before = output(base)
    with adapted(base, adapter_of(base)) as victim:
        assert not torch.allclose(output(victim), before, atol=1e-3)
        assert torch.equal(output(base), before)
    assert torch.equal(output(base), before) and not hasattr(base.unet, "peft_config")


def test_the_two_share_every_weight(base):
    other = apart(base)
    for one, two in ((base.unet, other.unet), (base.text_encoder, other.text_encoder)):
        assert one is not two
        assert all(a is b for a, b in zip(one.parameters(), two.parameters(), strict=True))
        assert all(a is b for a, b in zip(one.buffers(), two.buffers(), strict=True))


def test_the_empty_prompt_is_each_ones_own(base):
    plain = base.empty_context
    with adapted(base, adapter_of(base)) as victim:
        assert not torch.allclose(victim.empty_context, plain, atol=1e-4)
    assert torch.equal(base.empty_context, plain)


def test_an_adapter_of_another_base_is_refused(base):
    adapter = adapter_of(base)
    adapter.factors["unet.no.such.layer"] = next(iter(adapter.factors.values()))
    adapter.alphas["unet.no.such.layer"] = 1.0
    with pytest.raises(UserError, match="no such layer"), adapted(base, adapter):
        pass


def test_pictures_are_a_function_of_the_seed_and_are_told(base):
    told = []
    one, two, other = (
        pictures(base, ["a"] * 3, steps=2, guidance=1.0, seed=seed, tell=lambda *done: told.append(done)) for seed in (1, 1, 2)
    )
    assert one.shape == (3, 32, 32, 3) and one.dtype == np.uint8
    assert np.array_equal(one, two) and not np.array_equal(one, other) and set(told) == {(3, 3)}


# ---------------------------------------------------------------- cliques


def block(sizes, inside=0.9, outside=0.0):
    names = np.repeat(np.arange(len(sizes)), sizes)
    alike = np.where(names[:, None] == names, inside, outside)
    np.fill_diagonal(alike, 1.0)
    return alike


def test_cliques_are_the_blocks_the_largest_first():
    found = cliques(block([2, 5, 3]), quantile=0.75)
    assert [sorted(clique) for clique in found] == [[2, 3, 4, 5, 6], [7, 8, 9], [0, 1]]


def test_every_draw_is_in_one_clique():
    draws = np.random.default_rng(0).normal(size=(17, 4))
    found = cliques(draws @ draws.T)
    assert sorted(i for clique in found for i in clique) == list(range(17))
    assert all(len(one) >= len(two) for one, two in pairwise(found))


def test_every_two_of_a_clique_are_neighbours():
    draws = np.random.default_rng(1).normal(size=(20, 4))
    alike = draws @ draws.T
    least = np.quantile(alike[np.triu_indices(20, 1)], 0.6)
    for clique in cliques(alike, quantile=0.6):
        assert all(alike[i, j] >= least for i in clique for j in clique if i != j)


def test_the_centre_is_the_most_alike():
    points = np.array([[0.0], [0.1], [0.3], [9.0], [20.0]])
    found = cliques(-np.abs(points - points.T), quantile=0.5)
    assert found[0][0] == 1 and sorted(found[0]) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_few_draws(count):
    assert sorted(i for clique in cliques(np.ones((count, count))) for i in clique) == list(range(count))


def test_the_same_picture_is_most_alike():
    draws = np.random.default_rng(0)
    images = np.kron(draws.integers(0, 255, (4, 4, 4, 3), dtype=np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    alike = similarity(np.concatenate([images, images[:1]]))
    assert alike.shape == (5, 5) and np.allclose(alike, alike.T) and np.allclose(np.diag(alike), 1)
    assert alike[0, 4] == pytest.approx(1) and alike[0, 1:4].max() < 0.9
    assert np.isfinite(similarity(np.repeat(images[:1], 3, 0))).all()
