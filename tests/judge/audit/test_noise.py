"""The bounds that the audit rests on: whatever is added to noise, its tests do not call it too little; what takes some away, they do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.judge.audit import noise, residual
from sfumato.judge.audit.noise import Claim, View, gather

PLAIN = Claim(field="z_n", alpha=0.4, sigma=0.9165, clip=None)


def drawn(count=8, shape=(4, 8, 8), seed=0):
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))


def test_the_bases_are_orthonormal():
    for size in (1, 2, 4, 7, 16):
        table = noise._dct(size)
        assert torch.allclose(table @ table.T, torch.eye(size, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 4, 4), (3, 6, 10), (16, 5, 7)])
def test_bands_hold_all_energy_once_and_flat_places_what_is_no_mean(shape):
    y = drawn(3, shape).double()
    view = View(shape, PLAIN, 1.0)
    found, energy, top = view.look(y)
    each = y.square().flatten(1).sum(1).numpy()
    assert found["rings"].sum(axis=(2, 3)) == pytest.approx(np.stack([each, each], axis=1))
    assert found["low"][:, -1] == pytest.approx(each) and energy.sum(axis=(1, 2, 3)) == pytest.approx(each.sum())
    assert view.sizes.sum() == shape[1] * shape[2] and top.shape == (3, np.prod(shape) // 2)
    assert float(view.flat(torch.full((1, *shape), 3.0).double()).abs().max()) < 1e-9


@given(seed=st.integers(0, 10**6), size=st.floats(0, 30), kind=st.sampled_from(["flat", "edge", "wave", "own"]))
@settings(max_examples=40, deadline=None)
def test_no_picture_makes_noise_too_little(seed, size, kind):
    """Not the likeliest to be refuted, either: the same value everywhere, one edge, one frequency, or the noise's own sign."""
    eps = drawn(seed=seed)
    picture = {
        "flat": torch.ones_like(eps), "edge": (torch.arange(8) < 4).float().expand_as(eps) * 2 - 1,
        "wave": torch.cos(torch.pi * (torch.arange(8) + 0.5) * 7 / 8).expand_as(eps), "own": drawn(seed=seed + 1).sign(),
    }[kind]  # fmt: skip
    seen = gather([PLAIN.alpha * size * picture + PLAIN.sigma * eps], PLAIN)
    assert min(finding.p for finding in noise.tests(seen)) > 1e-6


@pytest.mark.parametrize("bits", [8, 16])
def test_rounding_alone_refutes_nothing_even_of_many(bits):
    values = PLAIN.sigma * drawn(4000)
    step = 1 / 16
    rounded = values.half().float() if bits == 16 else ((values / step).floor() + (torch.rand_like(values) < (values / step) % 1)) * step
    seen = gather(rounded.split(512), Claim(field="z_n", alpha=0.4, sigma=PLAIN.sigma, clip=0.01, bits=bits))
    assert min(finding.p for finding in noise.tests(seen)) > 1e-5


def test_p_values_are_valid_where_the_bound_is_reached():
    """Noise alone, no rounding to allow for: each test's p-value is at most uniform, so one in ten is below a tenth at most."""
    exact = Claim(field="z_n", alpha=0.4, sigma=1.0, clip=1e-9)
    below: dict[str, int] = {}
    for seed in range(100):
        for finding in noise.tests(gather([drawn(2, seed=seed)], exact)):
            below[finding.name] = below.get(finding.name, 0) + (finding.p <= 0.1)
    assert len(below) == 7 and max(below.values()) <= 21  # 10 are expected at most; 22 or more once in 3,000
    assert below["bands"] > 1  # nor are they all one


def test_blocks_do_not_matter():
    values = PLAIN.sigma * drawn(21)
    whole, parts = gather([values], PLAIN), gather(values.split(4), PLAIN)
    assert [f.p for f in noise.tests(whole)] == pytest.approx([f.p for f in noise.tests(parts)], rel=0.05)  # rounding is by the first block
    assert np.allclose(whole.halves, parts.halves) and whole.numbers == parts.numbers == (11, 10)


@pytest.mark.parametrize(("strength", "refuted"), [(0.7, True), (1.0, False), (1.3, True)])
def test_a_residual_has_the_claimed_energy_and_no_other(strength, refuted):
    clean = drawn(seed=5) * 2
    sealed = PLAIN.alpha * clean + strength * PLAIN.sigma * drawn(seed=6)
    found = residual.tests([residual.Owned(PLAIN, sealed, clean)])
    assert (min(finding.p for finding in found) < 1e-6) == refuted


def test_a_part_of_the_picture_in_the_residual_is_found():
    clean = drawn(40, seed=7)
    sealed = (PLAIN.alpha + 0.15) * clean + PLAIN.sigma * drawn(40, seed=8)
    found = {finding.name: finding.p for finding in residual.tests([residual.Owned(PLAIN, sealed, clean)])}
    assert found["residual: independence"] < 1e-6 < found["residual: noise twice"]


def test_whose_is_sure_of_pictures_that_lie_apart_alone():
    clean = torch.cat([20 * drawn(5, seed=1), drawn(1, seed=2), drawn(1, seed=2) + 1e-3])
    order = torch.tensor([3, 0, 5, 6, 2])
    claim = Claim(field="z_n", alpha=0.9, sigma=0.4359, clip=None)
    index, sure = residual.whose([(claim, claim.alpha * clean[order] + claim.sigma * drawn(5, seed=3), clean)])
    assert index[sure].tolist() == [3, 0, 2] and sure.tolist() == [True, True, False, False, True]
