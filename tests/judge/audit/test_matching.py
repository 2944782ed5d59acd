"""The holder of the pictures finds its records among them; strangers' pictures are refused."""

import numpy as np
import pytest
import torch

from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.judge.audit.matching import match

SHAPE = (4, 8, 8)


def noised(clean, step, schedule, seed):
    alpha, sigma = float(schedule.alpha(step)), float(schedule.sigma(step))
    return alpha * clean + sigma * torch.randn(clean.shape, generator=generator(seed))


def pictures(count, seed):
    return torch.randn(count, *SHAPE, generator=generator(seed))


@pytest.mark.parametrize(("n", "m"), [(600, 200), (700, None), (-1, -1), (900, 300)])
def test_shuffled_records_are_found_again(base, n, m):
    z, c = pictures(30, 1), pictures(30, 2)
    order = torch.randperm(30, generator=generator(3))[:25]
    fields = [(noised(z[order], n, base.schedule, 4), torch.full((25,), n), z)]
    if m is not None:
        fields.append((noised(c[order], m, base.schedule, 5), torch.full((25,), m), c))
    assert (match(fields, base.schedule) == order.numpy()).all()


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
