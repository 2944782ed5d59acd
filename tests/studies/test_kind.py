"""Attackers who learn from pictures of another kind are told; those of the same kind are not doubted."""

import torch

from sfumato.core.randomness import generator
from sfumato.studies import kind


def latents(count, seed, *, mean=0.0, spread=1.0):
    return mean + spread * torch.randn((count, 4, 8, 8), generator=generator(seed))


def test_pictures_of_one_kind_are_of_one_kind_and_others_are_not():
    public = latents(300, 1)
    assert kind.strange(latents(200, 2), public) < 0.1 and not kind.unlike(latents(200, 2), public)
    for other in (latents(200, 3, mean=1.0), latents(200, 4, spread=0.3)):
        assert kind.strange(other, public) > 0.9 and "--public" in kind.unlike(other, public)


def test_a_part_of_another_kind_is_counted():
    mixed = torch.cat([latents(70, 2), latents(30, 3, mean=1.0)])
    assert 0.25 < kind.strange(mixed, latents(300, 1)) < 0.45 and not kind.unlike(mixed, latents(300, 1))


def test_of_few_public_pictures_nothing_is_said():
    assert not kind.unlike(latents(50, 3, mean=1.0), latents(kind.FEWEST - 1, 1)) and not kind.unlike(None, latents(99, 1))
    flat = torch.zeros(40, 4, 8, 8)
    assert kind.strange(latents(20, 1), flat) == 1 and kind.strange(flat, flat) == 0
