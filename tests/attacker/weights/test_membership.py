"""The statistics' mathematics; what a member's score is against another's; chance where there is nothing to tell."""

import contextlib
import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from adapters_support import adapter_of, output
from sfumato.attacker.attempt import Failed, NoChannel
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as weights
from sfumato.attacker.weights import membership
from sfumato.attacker.weights._likelihood_ratio import likelihood_ratio
from sfumato.attacker.weights.base import Candidates, Guess, Published
from sfumato.attacker.weights.membership import STATISTICS, VARIANTS, KnownMembers, Reader, cropped
from sfumato.core.randomness import generator

M = 10
PROMPT = "a sks peep"


@pytest.fixture(scope="module")
def candidates():
    return Candidates(torch.randn((M, 4, 8, 8), generator=generator(11)), (PROMPT,) * M)


def auc(scores, members):
    return float((scores[members][:, None] > scores[~members]).float().mean())


def says(base, answer):
    """A base whose UNet says ``answer(z_t, t)``."""

    class Unet:
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, z_t, t, encoder_hidden_states):
            return type("Output", (), {"sample": answer(z_t, t)})

    return dataclasses.replace(base, unet=Unet())


def noise_in(base, z_t, t, z_0):
    alpha, sigma = (x(t).float().view(-1, 1, 1, 1) for x in (base.schedule.alpha, base.schedule.sigma))
    return (z_t - alpha * z_0) / sigma


def statistic(name, base, candidates, draws=3, seed=0):
    return STATISTICS[name](Reader(base, candidates), draws, seed)


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize("name", STATISTICS)
def test_no_candidates_score_depends_on_the_others(base, candidates, name):
    order = torch.randperm(M, generator=generator(2))
    prompts = tuple(f"a {'abcdefghij'[i]}" for i in range(M))
    whole = statistic(name, base, Candidates(candidates.z_0, prompts))
    other = statistic(name, base, Candidates(candidates.z_0[order], tuple(prompts[i] for i in order)))
    assert whole.shape == (M,) and torch.allclose(other, whole[order], rtol=1e-3, atol=1e-4)


def test_who_predicts_the_very_noise_loses_nothing(base, candidates):
    knows = says(base, lambda z_t, t: noise_in(base, z_t, t, candidates.z_0))
    assert float(statistic("loss", knows, candidates).exp().max()) < 1e-4
    nothing = says(base, lambda z_t, t: torch.zeros_like(z_t))
    assert torch.allclose(statistic("loss", nothing, candidates, draws=20), torch.zeros(M), atol=0.1)


def test_v_prediction_is_understood(base, candidates):
    def v(z_t, t):
        alpha, sigma = (x(t).float().view(-1, 1, 1, 1) for x in (base.schedule.alpha, base.schedule.sigma))
        return alpha * noise_in(base, z_t, t, candidates.z_0) - sigma * candidates.z_0

    knows = dataclasses.replace(says(base, v), prediction_type="v_prediction")
    assert float(statistic("loss", knows, candidates).exp().max()) < 1e-4


def test_ddim_comes_back_to_where_it_was_if_the_noise_is_always_the_same(base, candidates):
    fixed = torch.randn((1, 4, 8, 8), generator=generator(3))
    constant = says(base, lambda z_t, t: fixed.expand(len(z_t), -1, -1, -1))
    assert float(statistic("secmi", constant, candidates).exp().max()) < 1e-4
    assert float(statistic("pia", constant, candidates).exp().max()) < 1e-6
    assert float(statistic("secmi", base, candidates).exp().min()) > 1e-3


def test_a_step_of_ddim_and_its_noising_agree(base, candidates):
    reader = Reader(says(base, lambda z_t, t: torch.zeros_like(z_t)), candidates)
    moved = reader.moved(candidates.z_0, -1, 100)
    assert torch.allclose(moved, float(base.schedule.alpha(100)) * candidates.z_0, atol=1e-6)
    assert torch.allclose(reader.moved(moved, 100, -1), candidates.z_0, atol=1e-5)


def test_pian_does_not_depend_on_how_long_the_first_prediction_is(base, candidates):
    def at(scale):
        return says(base, lambda z_t, t: torch.where((t == 0).view(-1, 1, 1, 1), scale * z_t, torch.zeros_like(z_t)))

    short, long = (statistic("pian", at(scale), candidates) for scale in (0.1, 7.0))
    assert torch.allclose(short, long, rtol=1e-4)
    assert torch.allclose(statistic("pia", at(7.0), candidates) - statistic("pia", at(0.1), candidates), torch.full((M,), math.log(70)))


def test_noise_of_pian_is_as_long_as_a_normal_draw(base, candidates):
    first = says(base, lambda z_t, t: torch.where((t == 0).view(-1, 1, 1, 1), z_t, torch.zeros_like(z_t)))
    fourth = (4 * 64 * 3) ** 0.25  # E|x|^4 of a normal draw is 3
    assert torch.allclose(statistic("pian", first, candidates).exp(), torch.full((M,), fourth), rtol=0.2)


def test_captions_that_change_nothing_tell_nothing(base, candidates):
    empty = Candidates(candidates.z_0, ("",) * M)
    assert torch.equal(statistic("clid", base, empty), torch.zeros(M))
    assert bool((statistic("clid", base, candidates) != 0).any())


def test_crops_are_the_same_for_all_and_keep_what_is_flat():
    flat = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 8, 8)
    assert torch.allclose(cropped(flat, generator(0)), flat, atol=1e-6)
    z = torch.randn((3, 4, 8, 8), generator=generator(1))
    one, two = cropped(z, generator(2)), cropped(z[1:2], generator(2))
    assert one.shape == z.shape and torch.equal(one[1:2], two) and not torch.allclose(one, z)


def test_flat_pictures_are_no_pit(base):
    flat = Candidates(torch.ones(2, 4, 8, 8), (PROMPT,) * 2)
    assert torch.allclose(statistic("pfami", base, flat), torch.zeros(2), atol=1e-5)


# ---------------------------------------------------------------- scores


def remembers(base, pictures, *, width=0.3):
    """A base that denoises as if every picture were one of ``pictures`` give or take ``width``, and without a caption one of anything."""
    empty = base.empty_context

    class Unet:
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, z_t, t, encoder_hidden_states):
            alpha, sigma = (x(t).float().view(-1, 1, 1, 1) for x in (base.schedule.alpha, base.schedule.sigma))
            misses = z_t[:, None] - alpha[:, None] * pictures
            spread = (alpha * width) ** 2 + sigma**2
            weights = torch.softmax(-misses.square().sum((2, 3, 4)) / (2 * spread.view(-1, 1)), dim=1)
            eps = sigma / spread * (weights.view(len(z_t), -1, 1, 1, 1) * misses).sum(1)
            captioned = (encoder_hidden_states - empty).abs().sum((1, 2)).view(-1, 1, 1, 1) > 1e-3
            return type("Output", (), {"sample": torch.where(captioned, eps, sigma * z_t)})

    return dataclasses.replace(base, unet=Unet())


@pytest.mark.parametrize("variant", STATISTICS)
def test_what_was_learned_by_heart_scores_higher(base, candidates, variant, monkeypatch):
    members = torch.arange(M) < M // 2
    plain = says(base, lambda z_t, t: base.schedule.sigma(t).float().view(-1, 1, 1, 1) * z_t)  # pictures are a normal draw
    victim = remembers(base, candidates.z_0[members])
    monkeypatch.setattr(membership, "adapted", lambda base, adapter: contextlib.nullcontext(victim))
    guess = weights.attempt(f"membership:{variant}", Scenario(plain, Published(adapter_of(base)), candidates))
    assert isinstance(guess, Guess), guess
    assert auc(guess.scores, members) == 1.0


@pytest.mark.parametrize("variant", STATISTICS)
def test_an_adapter_that_does_nothing_tells_nothing(base, candidates, variant, monkeypatch):
    monkeypatch.setattr(membership, "DRAWS", {"quick": 2})
    adapter = adapter_of(base)
    nothing = dataclasses.replace(adapter, factors={name: (a, torch.zeros_like(b)) for name, (a, b) in adapter.factors.items()})
    guess = weights.attempt(f"membership:{variant}", Scenario(base, Published(nothing), Candidates(candidates.z_0, ("",) * M)))
    assert torch.allclose(guess.scores, torch.zeros(M), atol=1e-3)


def test_pictures_that_nobody_saw_are_at_chance(base, candidates, monkeypatch):
    victim = remembers(base, candidates.z_0)
    monkeypatch.setattr(membership, "adapted", lambda base, adapter: contextlib.nullcontext(victim))
    unseen = Candidates(torch.randn((120, 4, 8, 8), generator=generator(77)), (PROMPT,) * 120)
    guess = weights.attempt("membership:loss", Scenario(base, Published(adapter_of(base)), unseen))
    assert abs(auc(guess.scores, torch.arange(120) % 2 == 0) - 0.5) < 3 * math.sqrt(121 / (12 * 60 * 60))


@pytest.mark.parametrize("variant", STATISTICS)
def test_scores_repeat_and_nothing_is_changed(base, candidates, variant, monkeypatch):
    monkeypatch.setattr(membership, "DRAWS", {"quick": 2})
    adapter, z_0, rng = adapter_of(base), candidates.z_0.clone(), torch.get_rng_state()
    before = output(base)
    one, two = (weights.attempt(f"membership:{variant}", Scenario(base, Published(adapter), candidates), seed=4) for _ in range(2))
    assert torch.equal(one.scores, two.scores) and one.scores.shape == (M,)
    assert torch.equal(z_0, candidates.z_0) and torch.equal(output(base), before) and torch.equal(rng, torch.get_rng_state())


def test_what_is_missing_or_does_not_fit_is_named(base, candidates):
    scenario = Scenario(base, Published(adapter_of(base)))
    assert weights.attempt("membership:loss", scenario) == NoChannel((Candidates,))
    assert weights.attempt("membership:lira", scenario.having(candidates)) == NoChannel((KnownMembers,))
    assert "secmi" in weights.attempt("membership:bogus", scenario.having(candidates)).cause
    failed = weights.attempt("membership:loss", scenario.having(Candidates(candidates.z_0, ("a",))))
    assert isinstance(failed, Failed) and "one for each" in failed.cause


# ---------------------------------------------------------------- LiRA


def shadow_of(members, means_in, means_out, *, spread, seed):
    draws = torch.randn(members.shape, generator=generator(seed))
    return torch.where(members, means_in, means_out) + spread * draws


def test_the_ratio_is_that_of_the_gaussians():
    members = torch.arange(20000)[:, None] % 2 == torch.arange(3) % 2
    means_in, means_out, spread = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([0.0, 0.0, -0.5]), 0.5
    shadow = shadow_of(members, means_in, means_out, spread=spread, seed=0)
    seen = torch.tensor([1.5, 0.0, 0.3])
    exact = (-((seen - means_in) ** 2) + (seen - means_out) ** 2) / (2 * spread**2)
    assert torch.allclose(likelihood_ratio(seen, shadow, members), exact, atol=0.2)


def test_members_are_told_whatever_a_picture_is_like_by_itself():
    members = torch.rand((12, 200), generator=generator(1)) < 0.5
    hard = 10 * torch.randn(200, generator=generator(2))  # how much a picture gains in any case: hides 1.0 from a threshold
    shadow = shadow_of(members, hard + 1.0, hard, spread=0.3, seed=3)
    truth = torch.arange(200) % 2 == 0
    seen = hard + truth + 0.3 * torch.randn(200, generator=generator(4))
    assert auc(likelihood_ratio(seen, shadow, members), truth) > 0.95 and auc(seen, truth) < 0.65


def test_pure_noise_gives_chance():
    members = torch.rand((8, 400), generator=generator(1)) < 0.5
    shadow, seen = torch.randn((8, 400), generator=generator(2)), torch.randn(400, generator=generator(3))
    assert abs(auc(likelihood_ratio(seen, shadow, members), torch.arange(400) % 2 == 0) - 0.5) < 3 * math.sqrt(401 / (12 * 200 * 200))


def test_the_more_a_candidate_looks_like_a_member_the_higher():
    members = (torch.arange(10)[:, None] + torch.arange(5)) % 2 == 0
    shadow = shadow_of(members, torch.ones(5), torch.zeros(5), spread=0.2, seed=0)
    rising = [likelihood_ratio(torch.full((5,), value), shadow, members) for value in (0.0, 0.3, 0.6, 1.0)]
    assert all(bool((two > one).all()) for one, two in pairwise(rising))


@pytest.mark.parametrize("absent", ["members", "others", "all members"])
def test_a_candidate_without_one_side_borrows_it(absent):
    members = (torch.arange(10)[:, None] + torch.arange(6)) % 2 == 0
    if absent == "all members":
        members = torch.zeros_like(members)
    else:
        members[:, 0] = absent == "others"
    shadow = shadow_of(members, torch.ones(6), torch.zeros(6), spread=0.1, seed=0)
    low, high = (likelihood_ratio(torch.full((6,), value), shadow, members) for value in (0.0, 1.0))
    assert bool((high > low).all()) and bool(low.isfinite().all() and high.isfinite().all())


@pytest.mark.parametrize(
    ("shadow", "members", "why"),
    [
        (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.bool), "two shadows at least"),
        (torch.zeros(3, 2), torch.zeros(3, 2), "bool"),
        (torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), "two shadows"),
        (torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool), "every shadow saw"),
    ],
)
def test_shadows_that_cannot_serve_are_named(shadow, members, why):
    with pytest.raises(ValueError, match=why):
        likelihood_ratio(torch.zeros(2), shadow, members)


def test_lira_runs_on_shadows(base, candidates, monkeypatch):
    monkeypatch.setattr(membership, "DRAWS", {"quick": 2})
    shadows = KnownMembers(tuple(adapter_of(base, seed) for seed in range(3)), (torch.arange(3)[:, None] + torch.arange(M)) % 2 == 0)
    told = []
    scenario = Scenario(base, Published(adapter_of(base, 9)), candidates, shadows)
    guess = weights.attempt("membership:lira", scenario, tell=lambda *done: told.append(done))
    assert isinstance(guess, Guess) and guess.scores.shape == (M,) and guess.budget["shadows"] == 3 and told[-1] == (4, 4)
    assert set(VARIANTS) == {*STATISTICS, "lira"}
