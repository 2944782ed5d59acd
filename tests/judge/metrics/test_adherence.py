from __future__ import annotations

import numpy as np
import pytest

from sfumato.core.errors import UserError
from sfumato.judge.metrics.adherence import adherence, edge_f1, edges_of, ratio, shuffled_f1


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _line(column: int, n: int = 1) -> np.ndarray:
    edges = np.zeros((n, 16, 16), bool)
    edges[:, :, column] = True
    return edges


def test_one_pixel_is_forgiven_and_two_are_not() -> None:
    assert [edge_f1(_line(8), _line(c))[0] for c in (8, 7, 9, 6, 10)] == [1, 1, 1, 0, 0]


def test_precision_and_recall() -> None:
    both = _line(3) | _line(12)
    assert edge_f1(_line(3), both)[0] == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert edge_f1(both, _line(3))[0] == pytest.approx(2 / 3)


def test_empty_maps() -> None:
    empty = np.zeros((1, 16, 16), bool)
    assert edge_f1(empty, empty)[0] == 1 and edge_f1(empty, _line(3))[0] == 0 and edge_f1(_line(3), empty)[0] == 0


def test_no_pictures_and_other_shapes() -> None:
    assert edge_f1(np.zeros((0, 8, 8), bool), np.zeros((0, 8, 8), bool)).shape == (0,)
    with pytest.raises(UserError):
        edge_f1(_line(3), _line(3, n=2))


def test_edges_of_is_the_registered_extractor() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[1, :, 16:] = 255
    edges = edges_of(images)
    assert edges.dtype == bool and edges.shape == (2, 32, 32) and not edges[0].any() and edges[1].any()
    assert edges_of(images, "scribble")[1].sum() > edges[1].sum()
    assert edges_of(images[:0]).shape == (0, 32, 32)


def test_shuffling_never_compares_a_picture_with_its_own_condition() -> None:
    edges = np.concatenate([_line(c) for c in (1, 4, 7, 10, 13)])
    for seed in range(20):
        assert shuffled_f1(edges, edges, generator=np.random.default_rng(seed)).max() == 0
    with pytest.raises(UserError):
        shuffled_f1(edges[:1], edges[:1], generator=_rng())


def test_adherence_is_zero_by_chance_and_one_at_the_ceiling() -> None:
    draw = _rng()
    chance, vae = draw.uniform(0.4, 0.6, 50), draw.uniform(0.9, 1.0, 50)
    assert adherence(chance, chance, vae, generator=draw).mean == 0
    top = adherence(vae, chance, vae, generator=draw)
    assert (top.mean, top.low, top.high, top.n) == pytest.approx((1, 1, 1, 50))
    assert top.f1_shuffled == pytest.approx(chance.mean())


def test_the_interval_covers_the_truth() -> None:
    covered = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        f1, chance, vae = (m + 0.1 * draw.standard_normal(60) for m in (0.8, 0.5, 0.95))
        result = adherence(f1, chance, vae, generator=draw, resamples=300)
        assert result.low < result.mean < result.high
        covered += result.low <= 0.3 / 0.45 <= result.high
    assert covered >= 51  # 95 % of 60 is 57


def test_ratio_is_paired() -> None:
    draw = _rng()
    shared = 0.1 * draw.standard_normal(100)
    chance, vae = np.full(100, 0.5), np.full(100, 0.95)
    mean, low, high = ratio(0.65 + shared / 2, chance, 0.8 + shared, chance, f1_vae=vae, generator=draw)
    assert mean == pytest.approx(0.5) and high - low < 0.01
    assert ratio(0.7 + shared, chance, 0.7 + shared, chance, f1_vae=vae, generator=draw) == pytest.approx((1, 1, 1))


def test_same_generator_same_interval() -> None:
    f1, chance, vae = _rng().uniform(size=(3, 20))
    assert adherence(f1, chance, vae, generator=_rng()) == adherence(f1, chance, vae, generator=_rng())


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(UserError):
        adherence(np.ones(3), np.ones(3), np.ones(4), generator=_rng())
