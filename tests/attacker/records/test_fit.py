"""The one loop by which attackers train."""

import pytest
import torch

from sfumato.attacker.records._fit import fit


def least_squares(**how):
    w = torch.nn.Parameter(torch.zeros(3))
    told = []
    curve = fit([w], lambda step: (w - torch.tensor([1.0, -2.0, 3.0])).square().sum(), tell=lambda k, n: told.append((k, n)), **how)
    return w.detach(), curve, told


def test_it_finds_the_minimum_and_its_curve_falls():
    w, curve, told = least_squares(steps=400, lr=0.1, weight_decay=0, falling=True)
    assert torch.allclose(w, torch.tensor([1.0, -2.0, 3.0]), atol=1e-2)
    assert curve[0] == (1.0, 14.0) and curve[-1][0] == 400 and curve[-1][1] < 0.1 and len(curve) == 11
    assert told == [(k + 1, 400) for k in range(400)]


def test_the_first_step_is_adams_and_a_clip_of_nothing_stops_it():
    w, _, _ = least_squares(steps=1, lr=0.5, weight_decay=0)
    assert torch.allclose(w, torch.tensor([0.5, -0.5, 0.5]), atol=1e-4)
    still, _, _ = least_squares(steps=1, lr=0.5, weight_decay=0, clip=0.0)
    assert torch.equal(still, torch.zeros(3))


def test_the_curve_shows_what_is_measured():
    values = iter(range(100))
    _, curve, _ = least_squares(steps=5, lr=0.1, measure=lambda: float(next(values)))
    assert curve == [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (4.0, 3.0), (5.0, 4.0)]
    with pytest.raises(StopIteration):
        least_squares(steps=1, lr=0.1, measure=lambda: float(next(iter(()))))
