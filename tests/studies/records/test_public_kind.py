"""Attackers who learn from pictures of another kind are told; those of the same kind are not doubted."""

import torch

from sfumato.core.randomness import generator
from sfumato.owner import domain
from sfumato.studies.records import public_kind


def latents(count, seed, *, mean=0.0, spread=1.0):
    return mean + spread * torch.randn((count, 4, 8, 8), generator=generator(seed))


def test_pictures_of_one_kind_are_of_one_kind_and_others_are_not():
    public = latents(300, 1)
    assert domain.between(latents(200, 2), public).beyond < 0.15 and not public_kind.weak(latents(200, 2), public)
    for other in (latents(200, 3, mean=1.0), latents(200, 4, spread=0.3)):
        assert domain.between(other, public).beyond > 0.9 and "--public" in public_kind.weak(other, public)


def test_a_part_of_another_kind_is_counted():
    mixed = torch.cat([latents(70, 2), latents(40, 3, mean=1.0)])
    assert 0.35 < domain.between(mixed, latents(300, 1)).beyond < 0.5 and public_kind.weak(mixed, latents(300, 1))
    few = torch.cat([latents(190, 2), latents(10, 3, mean=1.0)])
    assert not public_kind.weak(few, latents(300, 1))


def test_attackers_with_few_public_pictures_are_called_weak_whatever_these_are():
    few = latents(domain.FEWEST - 1, 1)
    assert str(len(few)) in public_kind.weak(latents(50, 3), few) and public_kind.weak(None, few)
    assert not public_kind.weak(None, latents(99, 1))
    flat = torch.zeros(80, 4, 8, 8)
    assert domain.between(latents(20, 1), flat).beyond == 1 and domain.between(flat, flat).beyond == 0
