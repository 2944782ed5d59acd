"""Pairs that the server makes itself are consistent, come from the latents alone, and are the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfumato.conditions import canny
from sfumato.core.errors import UserError
from sfumato.diffusion.controlnet import new_controlnet
from sfumato.records.reader import Records
from sfumato.server import derive


def records(n=(600, 600, 300), c=None):
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(len(n), 4, 8, 8, generator=draws)
    return Records(z, torch.zeros_like(z) if c is None else c, torch.tensor(n), torch.full((len(n),), 200), (), ())


def test_conditions_are_those_of_the_pairs_own_pictures(base):
    made = derive.from_records(records(), base, condition="canny", seed=0, steps=2)
    edges = np.stack([canny.extract(image) for image in base.decode_pixels(made.z_n)])
    assert torch.allclose(made.c_m, base.encode_pixels(edges), atol=1e-5)
    assert made.n.tolist() == made.m.tolist() == [-1] * 3 and bool(made.z_n.isfinite().all())


def test_what_was_released_as_condition_is_not_looked_at(base):
    first, second = (
        derive.from_records(records(c=torch.full((3, 4, 8, 8), value)), base, condition="canny", seed=0, steps=2) for value in (0.0, 9.0)
    )
    assert torch.equal(first.z_n, second.z_n) and torch.equal(first.c_m, second.c_m)


def test_every_record_gives_as_many_different_draws(base):
    told = []
    made = derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=3, on_step=lambda *x: told.append(x))
    assert len(made) == 9 and told[-1] == (9, 9)
    assert all(not torch.equal(made.z_n[i], made.z_n[j]) for i in range(9) for j in range(i))
    again = derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=3)
    other = derive.from_records(records(), base, condition="canny", seed=1, steps=2, draws=3)
    assert torch.equal(made.z_n, again.z_n) and not torch.equal(made.z_n, other.z_n)


def test_little_noise_leaves_the_picture(base):
    """At a low step the posterior is narrow: what is drawn is the latent itself, but for the noise."""
    z_0 = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    barely = Records(z_0, torch.zeros_like(z_0), torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long), (), ())
    made = derive.from_records(barely, base, condition="canny", seed=0, steps=1)
    assert float((made.z_n - z_0).square().mean().sqrt()) < 0.2


def test_a_run_on_pairs_is_known_by_what_they_came_from(base):
    """Another processor may find another last bit of a pair; the run is the same."""
    first = derive.from_records(records(), base, condition="canny", seed=0, steps=2)
    nearly = replace(first, z_n=first.z_n + 1e-7)
    assert first.digest() == nearly.digest() != derive.from_records(records(), base, condition="canny", seed=1, steps=2).digest()
    assert records().digest() != replace(records(), z_n=records().z_n + 1e-3).digest() and first.take(torch.arange(2)).origin


def test_from_nothing_needs_nobody(base):
    made = derive.from_nothing(base, 5, condition="canny", seed=0, steps=2)
    assert len(made) == 5 and made.manifests == () and made.n.tolist() == [-1] * 5
    assert torch.equal(made.z_n, derive.from_nothing(base, 5, condition="canny", seed=0, steps=2).z_n)


@pytest.mark.parametrize("count", [5, derive.BATCH + 2])
def test_latents_from_nothing_are_the_same_draws_without_conditions(base, monkeypatch, count):
    pairs = derive.from_nothing(base, count, condition="canny", seed=3, steps=2)
    monkeypatch.setattr(derive, "extractor_of", lambda name: pytest.fail("a condition was looked for"))
    alone = derive.latents_from_nothing(base, count, seed=3, steps=2)
    assert torch.equal(alone, pairs.z_n) and alone.dtype == torch.float32
    rounded = derive.latents_from_nothing(base, count, seed=3, steps=2, precision="bf16")
    assert not torch.equal(rounded, alone) and (rounded - alone).norm() < 0.1 * alone.norm()


def test_what_cannot_be_derived_is_refused(base):
    with pytest.raises(UserError, match="comes with the folder"):
        derive.from_records(records(), base, condition="given", seed=0)
    with pytest.raises(UserError, match="not noised"):
        derive.from_records(records(n=(-1, -1)), base, condition="canny", seed=0)


def test_draws_can_be_given_what_was_learned_from_those_before(base):
    net = new_controlnet(base, generator=torch.Generator().manual_seed(0))
    first = derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=2)
    silent = derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=2, given=(net, first.c_m))
    assert torch.allclose(silent.z_n, first.z_n, atol=1e-5)  # a fresh ControlNet changes nothing yet
    with torch.no_grad():
        for number, part in enumerate(net.parameters()):
            if not bool(part.any()):
                part.copy_(0.1 * torch.randn(part.shape, generator=torch.Generator().manual_seed(number)))
    moved = derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=2, given=(net, first.c_m))
    assert not torch.allclose(moved.z_n, first.z_n, atol=1e-3) and moved.digest() != first.digest()
    with pytest.raises(UserError, match="3 conditions for 2 draws of 3 records"):
        derive.from_records(records(), base, condition="canny", seed=0, steps=2, draws=2, given=(net, first.c_m[:3]))


def test_a_draw_that_was_killed_goes_on_and_ends_in_the_same_pairs(base, tmp_path, monkeypatch):
    monkeypatch.setattr(derive, "BATCH", 2)
    how = {"condition": "canny", "seed": 0, "steps": 2, "draws": 3}
    whole = derive.from_records(records(), base, **how)
    drawn = []
    sample = derive.sample

    def killed(*given, **options):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(1)
        return sample(*given, **options)

    monkeypatch.setattr(derive, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        derive.from_records(records(), base, **how, work=tmp_path)
    (folder,) = (tmp_path / "derived").iterdir()
    kept = sorted(folder.iterdir())
    assert len(kept) == 2 and all(path.stat().st_mode & 0o077 == 0 for path in kept)
    kept[0].write_bytes(kept[0].read_bytes()[:-1])  # as a full disk may leave it: drawn again
    told = []
    monkeypatch.setattr(derive, "sample", lambda *given, **options: told.append(1) or sample(*given, **options))
    again = derive.from_records(records(), base, **how, work=tmp_path)
    assert torch.equal(again.z_n, whole.z_n) and torch.equal(again.c_m, whole.c_m) and again.digest() == whole.digest()
    assert len(told) == 4  # of five parts one was kept
    derive.from_records(records(), base, **{**how, "seed": 1}, work=tmp_path)
    assert len(list((tmp_path / "derived").iterdir())) == 2  # other draws lie elsewhere


def test_a_pair_that_was_varied_stays_a_pair(base, monkeypatch):
    seen, vary = [], derive.vary

    def watched(images, *given, **how):
        seen.append(vary(images, *given, **how))
        return seen[-1]

    monkeypatch.setattr(derive, "vary", watched)
    pairs = derive.from_nothing(base, 5, condition="canny", seed=0, steps=2)
    made = derive.varied(pairs, base, "all", seed=7)
    (images,) = (one for one in seen if len(one))
    edges = np.stack([canny.extract(image) for image in images])
    assert not np.array_equal(images, base.decode_pixels(pairs.z_n))
    assert torch.allclose(made.z_n, base.encode_pixels(images), atol=1e-5)
    assert torch.allclose(made.c_m, base.encode_pixels(edges), atol=1e-5)
    assert made.n.tolist() == made.m.tolist() == [-1] * 5 and made.condition == "canny"
    assert torch.equal(derive.varied(pairs, base, "all", seed=7).z_n, made.z_n)
    digests = {derive.varied(pairs, base, *how, seed=seed).digest() for how, seed in ((["all"], 7), (["all"], 8), (["hue"], 7))}
    assert len(digests) == 3 and made.digest() in digests and pairs.digest() not in digests


def test_every_place_is_varied_by_draws_of_its_own(base, monkeypatch):
    """Also beyond the first block."""
    monkeypatch.setattr(derive, "BATCH", 2)
    one = derive.from_nothing(base, 1, condition="canny", seed=0, steps=2)
    same = Records(one.z_n.repeat(5, 1, 1, 1), one.c_m.repeat(5, 1, 1, 1), one.n.repeat(5), one.m.repeat(5), (), (), "canny")
    made = derive.varied(same, base, "warp", seed=0)
    assert len({z.numpy().tobytes() for z in made.z_n}) == len(made) == 5


@pytest.mark.parametrize("kinds", [None, ""])
def test_without_kinds_pairs_stay_as_they_are(base, kinds):
    assert (pairs := records()) is derive.varied(pairs, base, kinds, seed=0)


def test_what_cannot_be_seen_is_not_varied(base):
    with pytest.raises(UserError, match="noised records"):
        derive.varied(records(), base, "all", seed=0)
    with pytest.raises(UserError, match="noised records"):
        derive.varied(records(n=(-1, 300)), base, "all", seed=0)
    with pytest.raises(UserError, match="twirl"):
        derive.varied(replace(records(n=(-1, -1)), condition="canny"), base, "twirl", seed=0)


def test_public_prompts_are_drawn_under_in_turn(base, monkeypatch):
    monkeypatch.setattr(derive, "BATCH", 2)
    asked, real = [], derive.sample
    monkeypatch.setattr(derive, "sample", lambda base, said, **how: asked.append((said, how["guidance"])) or real(base, said, **how))
    how = {"condition": "canny", "seed": 0, "steps": 2}
    prompted = derive.from_nothing(base, 5, prompts=("a", "b", "c"), **how)
    assert asked == [(["a", "b"], derive.GUIDANCE), (["c", "a"], derive.GUIDANCE), (["b"], derive.GUIDANCE)]
    asked.clear()
    plain = derive.from_nothing(base, 5, **how)
    assert asked == [(["", ""], 1.0), (["", ""], 1.0), ([""], 1.0)] and not torch.allclose(plain.z_n, prompted.z_n)
    edges = np.stack([canny.extract(image) for image in base.decode_pixels(prompted.z_n)])
    assert torch.allclose(prompted.c_m, base.encode_pixels(edges), atol=1e-5)
