"""The holder of the pictures finds its records among them, by blocks as well as at once; strangers' pictures are refused."""

import resource

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.judge.audit import matching

SHAPE = (4, 8, 8)


def noised(clean, step, schedule, seed):
    alpha, sigma = float(schedule.alpha(step)), float(schedule.sigma(step))
    return alpha * clean + sigma * torch.randn(clean.shape, generator=generator(seed))


def pictures(count, seed):
    return torch.randn(count, *SHAPE, generator=generator(seed))


def match(fields, schedule, *, block=7):
    """``matching.match`` of fields with their clean latents, ``block`` pictures at a time."""
    clean = [z for *_, z in fields]
    blocks = lambda: ([z[i : i + block] for z in clean] for i in range(0, len(clean[0]), block))  # noqa: E731
    return matching.match([(released, steps) for released, steps, _ in fields], blocks, schedule)


def dense(fields, schedule):
    """The same by all N x M distances at once, in float64."""
    residual = 0
    for released, steps, clean in fields:
        rows = []
        for z_n, step in zip(released, steps.tolist(), strict=True):
            alpha, sigma = float(schedule.alpha(step)), float(schedule.sigma(step))
            square = cdist(z_n.double().flatten()[None], alpha * clean.double().flatten(1), "sqeuclidean")
            rows.append(square / (sigma**2 + matching.ROUNDING**2))
        residual = residual + np.concatenate(rows)
    return residual, linear_sum_assignment(residual)[1]


@pytest.mark.parametrize(("n", "m"), [(600, 200), (700, None), (-1, -1), (900, 300)])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_shuffled_records_are_found_again(base, n, m, block):
    z, c = pictures(30, 1), pictures(30, 2)
    order = torch.randperm(30, generator=generator(3))[:25]
    fields = [(noised(z[order], n, base.schedule, 4), torch.full((25,), n), z)]
    if m is not None:
        fields.append((noised(c[order], m, base.schedule, 5), torch.full((25,), m), c))
    assert (match(fields, base.schedule, block=block) == order.numpy()).all()
    assert (dense(fields, base.schedule)[1] == order.numpy()).all()


@pytest.mark.parametrize("seed", range(4))
def test_where_pictures_are_alike_blocks_share_them_out_as_all_at_once_would(base, seed, monkeypatch):
    """Groups of nearly equal pictures: several records want the same one, and the nearest of a record are soon not enough."""
    monkeypatch.setattr(matching, "DOUBTFUL", 1.0)
    monkeypatch.setattr(matching, "NEAREST", 2)
    z = pictures(6, seed).repeat_interleave(6, dim=0) + 0.02 * pictures(36, seed + 10)
    order = torch.randperm(36, generator=generator(seed))[:33]
    fields = [(noised(z[order], 800, base.schedule, seed), torch.full((33,), 800), z)]
    residual, best = dense(fields, base.schedule)
    found, rows = match(fields, base.schedule, block=5), np.arange(33)
    assert len(set(found.tolist())) == 33
    assert residual[rows, found].sum() == pytest.approx(residual[rows, best].sum(), rel=1e-6)
    assert (residual.argmin(axis=1) != best).mean() > 0.2  # otherwise nothing was shared out


def test_clean_latents_of_any_size_are_told_from_rounding(base):
    """Where nothing is noised the residual is in units of rounding: 32-bit distances of large latents would drown in their own."""
    z = torch.randn(40, 4, 64, 64, generator=generator(1)) + 3
    released = z[:30].half().float()
    fields = [(released, torch.full((30,), -1), z)]
    assert (match(fields, base.schedule) == np.arange(30)).all()
    edited = z.clone()
    edited[7] += 0.02 * torch.randn(4, 64, 64, generator=generator(2))
    with pytest.raises(UserError, match="1 of 30 records are of none"):
        match([(released, torch.full((30,), -1), edited)], base.schedule)


def test_each_record_is_read_at_its_own_step(base):
    z, steps = pictures(12, 1), torch.tensor([300, 700] * 6)
    parts = [noised(z[i : i + 1], int(steps[i]), base.schedule, i) for i in range(12)]
    assert (match([(torch.cat(parts)[:], steps, z)], base.schedule) == np.arange(12)).all()


def test_records_of_other_pictures_are_refused_even_if_few(base):
    z = pictures(20, 1)
    sealed, steps = noised(z, 500, base.schedule, 2), torch.full((20,), 500)
    edited = z.clone()
    edited[7] = pictures(1, 9)[0]
    with pytest.raises(UserError, match="1 of 20 records are of none of the 20 pictures"):
        match([(sealed, steps, edited)], base.schedule)
    with pytest.raises(UserError, match=r"\d+ of 20 records are of none"):
        match([(sealed, steps, pictures(20, 8))], base.schedule)
    with pytest.raises(UserError, match="20 records, 19 pictures"):
        match([(sealed, steps, z[:19])], base.schedule)


def test_a_step_that_the_manifest_misstates_is_noticed(base):
    z = pictures(20, 1)
    with pytest.raises(UserError, match="of none"):
        match([(noised(z, 700, base.schedule, 2), torch.full((20,), 500), z)], base.schedule)


def test_noise_that_hides_even_that_is_said_to_and_not_called_safe(base):
    z = 0.05 * pictures(200, 1)
    last = base.schedule.steps - 1
    with pytest.raises(UserError, match="no proof of safety"):
        match([(noised(z, last, base.schedule, 2), torch.full((200,), last), z)], base.schedule)


def test_memory_does_not_grow_with_the_pictures(base):
    """300 records among 30,000 pictures that are never held together: all distances would take 72 MB, all latents 30 MB."""
    z = pictures(300, 1)
    sealed, steps = noised(z, 300, base.schedule, 2), torch.full((300,), 300)

    def blocks():
        for k in range(100):
            block = pictures(300, 100 + k)
            yield (torch.cat([block[:150], z[:150], z[150:]]) if k == 70 else block,)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = matching.match([(sealed, steps)], blocks, base.schedule)
    assert (found == 70 * 300 + 150 + np.arange(300)).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024
